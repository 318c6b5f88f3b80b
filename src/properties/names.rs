//! Topic names: which texts are names, and how names travel in URLs.

use super::generated::{cases, topic};
use crate::ids::Epoch;
use crate::limits::TOPIC_BYTES_MAX;
use crate::protocol::operation::Since;
use crate::protocol::pattern::Subject;
use crate::protocol::target::{Endpoint, parse};
use crate::protocol::topic::{TopicError, TopicName};
use proptest::prelude::*;
use std::fmt::Write as _;

/// The name as a URL carries it: what would split or end it always encoded, the rest where `also` says so.
fn percent_encoded(name: &str, also: &[bool]) -> String {
    let mut out = String::new();
    for (byte, also) in name.bytes().zip(also.iter().cycle()) {
        if *also || !byte.is_ascii() || b"%/,&#?".contains(&byte) {
            let _ = write!(out, "%{byte:02X}");
        } else {
            out.push(byte.into());
        }
    }
    out
}

fn mask() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(any::<bool>(), 1..20)
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn a_name_survives_the_url_however_much_of_it_is_encoded(name in topic(), mask in mask()) {
        let encoded = percent_encoded(name.as_str(), &mask);
        let target = parse(&format!("/ws/{encoded}"), "", 1, false).unwrap();
        prop_assert_eq!(&target.wishes[0].subject, &Subject::Topic(name.clone()));
        let target = parse(&format!("/publish/{encoded}"), "", 1, false).unwrap();
        prop_assert_eq!(target.endpoint, Endpoint::Publish(name, None));
    }

    #[test]
    fn streams_and_where_they_resume_stay_in_their_order(
        streams in prop::collection::vec((topic(), mask(), any::<Option<(u64, u64)>>()), 1..8),
        comma in any::<bool>(),
    ) {
        let separator = if comma { "," } else { "/" };
        let names: Vec<_> = streams.iter().map(|(name, mask, _)| percent_encoded(name.as_str(), mask)).collect();
        let places: Vec<_> = streams
            .iter()
            .map(|(.., place)| place.map_or_else(String::new, |(epoch, seq)| format!("{}:{seq}", Epoch(epoch))))
            .collect();
        let query = format!("streams={}&since={}", names.join(separator), places.join(","));
        let target = parse("/stream", &query, streams.len(), false).unwrap();
        prop_assert_eq!(target.wishes.len(), streams.len());
        for (wish, (name, _, place)) in target.wishes.iter().zip(&streams) {
            prop_assert_eq!(&wish.subject, &Subject::Topic(name.clone()));
            prop_assert_eq!(wish.since, place.map(|(epoch, seq)| Since { epoch: Epoch(epoch), seq }));
        }
    }

    #[test]
    fn any_path_and_query_are_understood_or_refused(path in "(/|/ws|/stream|/publish)?\\PC{0,30}", query in "(streams=|since=)?\\PC{0,40}") {
        if let Ok(target) = parse(&path, &query, 3, false) {
            prop_assert!(target.wishes.len() <= 3);
            for wish in target.wishes {
                prop_assert_eq!(Subject::try_from(wish.subject.to_string().as_str()), Ok(wish.subject));
            }
        }
    }

    #[test]
    fn one_control_character_or_space_anywhere_is_refused(
        before in "[!-~]{0,50}",
        character in prop_oneof![Just(' '), prop::char::range('\0', '\x1f'), prop::char::range('\x7f', '\u{9f}')],
        after in "[!-~]{0,50}",
    ) {
        let name = format!("{before}{character}{after}");
        prop_assert_eq!(TopicName::try_from(name), Err(TopicError::Character));
    }

    #[test]
    fn length_counts_bytes(name in "[a-zé€😀]{1,220}") {
        let expected = if name.len() > TOPIC_BYTES_MAX { Err(TopicError::TooLong) } else { Ok(()) };
        prop_assert_eq!(TopicName::try_from(name).map(drop), expected);
    }
}
