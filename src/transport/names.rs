//! Topic names seen lately: whoever names a topic with every message names few, and each is checked and kept once.

use crate::protocol::topic::{TopicError, TopicName};
use std::hash::{BuildHasher as _, RandomState};

/// Names kept; two that fall on one place take turns.
const PLACES: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Names {
    hasher: RandomState,
    places: Box<[Option<TopicName>; PLACES]>,
}

impl Default for Names {
    fn default() -> Self {
        Self { hasher: RandomState::new(), places: Box::new([const { None }; PLACES]) }
    }
}

impl Names {
    /// The name that is written so.
    pub(super) fn name(&mut self, text: &str) -> Result<TopicName, TopicError> {
        let place = &mut self.places[self.hasher.hash_one(text) as usize % PLACES];
        match place {
            Some(name) if name.as_str() == text => Ok(name.clone()),
            _ => Ok(place.insert(TopicName::try_from(text)?).clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_are_however_many_there_are() {
        let mut names = Names::default();
        for _ in 0..2 {
            for number in 0..3 * PLACES {
                let text = format!("t{number}");
                assert_eq!(names.name(&text), TopicName::try_from(text));
            }
        }
        assert_eq!(names.name("a b"), Err(TopicError::Character));
    }
}
