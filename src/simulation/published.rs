//! What was published of a topic, in its order. The oracle counts messages by that order, from 1, whatever numbers
//! publishers gave them and however often they began anew; clients are told places, which mean the same messages.

use crate::ids::Epoch;
use crate::protocol::operation::Since;
use std::ops::RangeInclusive;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Of each message its place, and the bytes of padding behind its number.
    messages: Vec<(Since, usize)>,
    /// Which of them are images, ascending.
    images: Vec<u64>,
}

impl Published {
    /// How many there are: the number of the newest.
    pub(super) fn head(&self) -> u64 {
        self.messages.len() as u64
    }

    pub(super) fn push(&mut self, place: Since, pad: usize, is_image: bool) {
        self.messages.push((place, pad));
        if is_image {
            self.images.push(self.head());
        }
    }

    /// The place of a message; before the first, that of nobody who has had any.
    pub(super) fn place(&self, number: u64) -> Since {
        match number {
            0 => Since { seq: 0, ..self.place(1) },
            _ => self.messages[number as usize - 1].0,
        }
    }

    /// The padding of a message, if there is one of that number.
    pub(super) fn pad(&self, number: u64) -> Option<usize> {
        Some(self.messages.get((number as usize).checked_sub(1)?)?.1)
    }

    pub(super) fn is_image(&self, number: u64) -> bool {
        self.images.binary_search(&number).is_ok()
    }

    /// The newest image that is not older than `oldest`.
    pub(super) fn image_from(&self, oldest: u64) -> Option<u64> {
        self.images.last().copied().filter(|image| *image >= oldest)
    }

    /// How many messages there were up to a place; `None` where that history never was.
    pub(super) fn up_to(&self, place: Since) -> Option<u64> {
        let mut of_epoch = self.of_epoch(place.epoch)?;
        let before = *of_epoch.start() - 1;
        Some(of_epoch.rfind(|number| self.place(*number).seq <= place.seq).unwrap_or(before))
    }

    /// The messages of one history; `None` where it never was.
    pub(super) fn of_epoch(&self, epoch: Epoch) -> Option<RangeInclusive<u64>> {
        let is_of = |(place, _): &(Since, usize)| place.epoch == epoch;
        let (first, last) = (self.messages.iter().position(is_of)?, self.messages.iter().rposition(is_of)?);
        Some(first as u64 + 1..=last as u64 + 1)
    }

    /// The first message of the history that the newest belongs to; 1 where there is none.
    pub(super) fn first_of_newest(&self) -> u64 {
        let newest = self.messages.last().and_then(|(place, _)| self.of_epoch(place.epoch));
        newest.map_or(1, |of_epoch| *of_epoch.start())
    }
}

#[test]
fn a_place_means_the_messages_up_to_it() {
    let mut published = Published::default();
    let place = |epoch, seq| Since { epoch: Epoch(epoch), seq };
    for (at, is_image) in
        [(place(1, 1), true), (place(1, 5), false), (place(7, 1), true), (place(7, 2), false)]
    {
        published.push(at, 0, is_image);
    }
    let up_to = [place(1, 0), place(1, 4), place(1, 9), place(7, 0), place(7, 1), place(2, 1)];
    let numbers = up_to.map(|place| published.up_to(place));
    assert_eq!(numbers, [Some(0), Some(1), Some(2), Some(2), Some(3), None]);
    assert_eq!((published.place(0), published.place(2)), (place(1, 0), place(1, 5)));
    assert_eq!((published.first_of_newest(), published.image_from(4)), (3, None));
}
