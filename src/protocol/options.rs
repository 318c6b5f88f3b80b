//! What a publisher may say of a message beside its topic and payload.

use super::class::Class;
use crate::ids::Epoch;
use serde_json::Value;

/// The largest number a publisher may assign: those after it must still be numbers.
const SEQ_MAX: u64 = i64::MAX as u64;

/// See the module. Nothing said is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions {
    /// The class of a topic that this message begins; of one that has begun it must be the class it has.
    pub class: Option<Class>,
    /// Marks an image: by itself all that a new subscriber needs.
    pub image: bool,
    /// The message's number. It must be above the topic's head.
    pub seq: Option<u64>,
    /// The history the message belongs to; a later one than the topic's begins anew.
    pub epoch: Option<Epoch>,
}

/// An option that cannot be. The publisher's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionError {
    #[error("class is event, state, delta or best-effort")]
    Class,
    #[error("image is 1 or true, 0 or false")]
    Image,
    #[error("seq is a whole number, from 1 to 2^63 - 1")]
    Seq,
    #[error("epoch is 1 to 12 digits and lower-case letters, not all of them 0, as acks give it")]
    Epoch,
}

impl PublishOptions {
    /// As the query of a URL says; its names come one by one from `parameter`.
    pub(crate) fn from_query<'a>(parameter: impl Fn(&str) -> Option<&'a str>) -> Result<Self, OptionError> {
        let image = match parameter("image") {
            None | Some("0" | "false") => false,
            Some("1" | "true") => true,
            Some(_) => return Err(OptionError::Image),
        };
        let seq = parameter("seq").map(|seq| seq.parse().map_err(|_| OptionError::Seq)).transpose()?;
        Self::checked(parameter("class"), image, seq, parameter("epoch"))
    }

    /// As the fields of an object say; null is as good as nothing.
    pub(crate) fn from_fields(fields: OptionFields) -> Result<Self, OptionError> {
        let said = |value: Option<Value>| value.filter(|value| !value.is_null());
        let image = match said(fields.image) {
            None => false,
            Some(value) => value.as_bool().ok_or(OptionError::Image)?,
        };
        let seq = said(fields.seq).map(|value| value.as_u64().ok_or(OptionError::Seq)).transpose()?;
        let (class, epoch) = (said(fields.class), said(fields.epoch));
        let class = class.as_ref().map(|value| value.as_str().ok_or(OptionError::Class)).transpose()?;
        let epoch = epoch.as_ref().map(|value| value.as_str().ok_or(OptionError::Epoch)).transpose()?;
        Self::checked(class, image, seq, epoch)
    }

    fn checked(
        class: Option<&str>,
        image: bool,
        seq: Option<u64>,
        epoch: Option<&str>,
    ) -> Result<Self, OptionError> {
        let class = class.map(|class| Class::from_name(class).ok_or(OptionError::Class)).transpose()?;
        if seq.is_some_and(|seq| seq == 0 || seq > SEQ_MAX) {
            return Err(OptionError::Seq);
        }
        // Written back as it came: clients compare epochs as text.
        let epoch = epoch.map(|text| {
            let epoch: Option<Epoch> = text.parse().ok();
            epoch.filter(|epoch| *epoch != Epoch(0) && epoch.to_string() == text).ok_or(OptionError::Epoch)
        });
        Ok(Self { class, image, seq, epoch: epoch.transpose()? })
    }

    /// `None` when nothing was said: the many messages of which nothing is said then carry a word.
    pub(crate) fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// The fields of an operation, or of a line, that are options.
#[derive(Debug, Default)]
pub(crate) struct OptionFields {
    pub(crate) class: Option<Value>,
    pub(crate) image: Option<Value>,
    pub(crate) seq: Option<Value>,
    pub(crate) epoch: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn query(text: &str) -> Result<PublishOptions, OptionError> {
        let pairs: Vec<_> = text.split('&').filter_map(|pair| pair.split_once('=')).collect();
        PublishOptions::from_query(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value))
    }

    #[test]
    fn a_query_and_an_object_say_the_same() {
        let said = query("class=best-effort&image=1&seq=7&epoch=k3f9").unwrap();
        let epoch = Some("k3f9".parse().unwrap());
        assert_eq!(said, PublishOptions { class: Some(Class::BestEffort), image: true, seq: Some(7), epoch });
        let fields = OptionFields {
            class: Some(json!("best-effort")),
            image: Some(json!(true)),
            seq: Some(json!(7)),
            epoch: Some(json!("k3f9")),
        };
        assert_eq!(PublishOptions::from_fields(fields), Ok(said));
        assert_eq!(query("").unwrap().boxed(), None);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (text, error) in [
            ("class=fast", OptionError::Class),
            ("image=yes", OptionError::Image),
            ("seq=0", OptionError::Seq),
            ("seq=-1", OptionError::Seq),
            ("seq=9223372036854775808", OptionError::Seq),
            ("epoch=", OptionError::Epoch),
            ("epoch=0", OptionError::Epoch),
            ("epoch=K3", OptionError::Epoch),
            ("epoch=+1", OptionError::Epoch),
            ("epoch=a b", OptionError::Epoch),
        ] {
            assert_eq!(query(text), Err(error), "{text}");
        }
        let fields = OptionFields { image: Some(json!(1)), ..OptionFields::default() };
        assert_eq!(PublishOptions::from_fields(fields), Err(OptionError::Image));
    }
}
