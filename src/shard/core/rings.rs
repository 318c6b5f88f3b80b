//! Proves, over generated scripts and beside the plainest model of each: the log and the debts hold what was put into
//! them, in its order.

use super::debts::{Debts, Run};
use super::log::Log;
use crate::ids::Slot;
use crate::limits::FRAME_COPIED_BYTES_MAX;
use crate::message::{Encoding, Message, Payload};
use crate::properties::generated::cases;
use crate::protocol::topic::TopicName;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::VecDeque;
use std::rc::Rc;

#[derive(Clone, Debug)]
enum DebtStep {
    /// A frame, so many numbers after the last, owed by the slots whose bits are set.
    Owe {
        gap: u32,
        slots: u8,
    },
    Pay(Slot),
    PayFirst(Slot, usize),
    PayRun(Slot),
    TakeDebtors,
}

fn debt_step() -> impl Strategy<Value = DebtStep> {
    prop_oneof![
        12 => (prop_oneof![8 => Just(1_u32), 1 => 1..900_u32], any::<u8>())
            .prop_map(|(gap, slots)| DebtStep::Owe { gap, slots }),
        2 => (0..8_u32).prop_map(DebtStep::Pay),
        2 => (0..8_u32, 1..64_usize).prop_map(|(slot, least)| DebtStep::PayFirst(slot, least)),
        1 => (0..8_u32).prop_map(DebtStep::PayRun),
        1 => Just(DebtStep::TakeDebtors),
    ]
}

#[derive(Clone, Debug)]
enum LogStep {
    Append { len: usize, encodings: [bool; Encoding::COUNT], fanout: u32 },
    Cut(Index),
    Forgive(Index),
    Hold(Index, usize),
}

fn log_step() -> impl Strategy<Value = LogStep> {
    let len = prop_oneof![8 => 0..200_usize, 1 => FRAME_COPIED_BYTES_MAX - 60..FRAME_COPIED_BYTES_MAX + 60];
    prop_oneof![
        6 => (len, any::<[bool; Encoding::COUNT]>(), 0..3_u32)
            .prop_map(|(len, encodings, fanout)| LogStep::Append { len, encodings, fanout }),
        1 => any::<Index>().prop_map(LogStep::Cut),
        1 => any::<Index>().prop_map(LogStep::Forgive),
        1 => (any::<Index>(), 0..Encoding::COUNT).prop_map(|(at, encoding)| LogStep::Hold(at, encoding)),
    ]
}

/// One frame of the log's model.
struct Kept {
    number: u32,
    seq: u64,
    frames: Vec<Vec<u8>>,
    fanout: u32,
}

/// The log says of every frame, and of every run within one lane, what the model does.
fn compare(log: &Log, model: &VecDeque<Kept>) {
    let fanouts = model.iter().map(|kept| (0, u64::from(kept.fanout)));
    assert!(log.pending().eq(fanouts));
    for encoding in Encoding::ALL {
        let of = |kept: &Kept| kept.frames[encoding as usize].clone();
        let is_copied = |kept: &&Kept| kept.frames[encoding as usize].len() <= FRAME_COPIED_BYTES_MAX;
        assert_eq!(log.is_contiguous(encoding), model.iter().all(|kept| is_copied(&kept)));
        for kept in model {
            assert_eq!(log.frame(kept.number).seq, kept.seq);
            assert_eq!(log.len_of(encoding, kept.number), of(kept).len());
            let referenced = log.referenced(encoding, kept.number);
            assert_eq!(referenced.is_none(), is_copied(&kept));
            assert!(referenced.is_none_or(|held| held.bytes == of(kept)));
        }
        for first in 0..model.len() {
            let run: Vec<_> = model.iter().skip(first).take_while(is_copied).take(5).collect();
            if let Some(kept) = run.first() {
                let whole: Vec<_> = run.iter().flat_map(|kept| of(kept)).collect();
                assert_eq!(log.slice(encoding, Run { first: kept.number, len: run.len() as u32 }), whole);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn every_slot_owes_what_it_was_made_to_owe(first in any::<u32>(), steps in vec(debt_step(), 1..256)) {
        let mut debts = Debts::default();
        let mut model = vec![Vec::<u32>::new(); 8];
        let mut debtors = Vec::new();
        let mut number = first;
        (0..8).for_each(|slot| debts.admit(slot));
        for step in steps {
            match step {
                DebtStep::Owe { gap, slots } => {
                    number = number.wrapping_add(gap);
                    let slots: Vec<_> = (0..8).filter(|slot| slots >> slot & 1 == 1).collect();
                    debts.owe(&slots, number);
                    for slot in slots {
                        if model[slot as usize].is_empty() {
                            debtors.push(slot);
                        }
                        model[slot as usize].push(number);
                    }
                }
                DebtStep::PayRun(slot) if !debts.has_list(slot) => {
                    let run: Vec<_> = debts.take_run(slot).numbers().collect();
                    prop_assert_eq!(run, std::mem::take(&mut model[slot as usize]));
                }
                DebtStep::Pay(slot) | DebtStep::PayRun(slot) => {
                    let debt = debts.take(slot);
                    let owed = std::mem::take(&mut model[slot as usize]);
                    prop_assert_eq!(&debt, &owed);
                    debts.give_back(debt);
                }
                DebtStep::PayFirst(slot, least) => {
                    let debt = debts.take_first(slot, least);
                    let owed = &mut model[slot as usize];
                    prop_assert!((owed.len().min(least)..=least + 30).contains(&debt.len()), "{}", debt.len());
                    prop_assert!(debt.iter().copied().eq(owed.drain(..debt.len())));
                    debts.give_back(debt);
                }
                DebtStep::TakeDebtors => prop_assert_eq!(debts.take_debtors(Vec::new()), std::mem::take(&mut debtors)),
            }
            prop_assert_eq!(debts.is_clear(), debtors.is_empty());
            for slot in 0..8 {
                prop_assert_eq!(debts.owes(slot), !model[slot as usize].is_empty());
                prop_assert_eq!(debts.first(slot), model[slot as usize].first().copied());
            }
        }
        let listed = (0..8).map(|slot| debts.take(slot).len()).sum::<usize>();
        prop_assert_eq!(listed, model.iter().map(Vec::len).sum::<usize>());
        prop_assert!((0..8).all(|slot| !debts.owes(slot) && !debts.has_list(slot)));
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn the_log_has_every_frame_until_it_is_cut(steps in vec(log_step(), 1..40)) {
        let mut log = Log::default();
        let mut model = VecDeque::new();
        let name = TopicName::try_from("t").unwrap();
        let mut seq = 0;
        let mut queued = Vec::new();
        for step in steps {
            match step {
                LogStep::Append { len, encodings, fanout } => {
                    seq += 1;
                    let payload = Payload::text("x".repeat(len));
                    let message = Message { topic: 0, name: name.clone(), seq, time_us: 0, is_image: false, payload };
                    let number = log.append(&message, encodings, fanout);
                    let encoded = |encoding: Encoding| {
                        let mut frame = Vec::new();
                        if encodings[encoding as usize] {
                            encoding.encode(&message, &mut frame);
                        }
                        frame
                    };
                    model.push_back(Kept { number, seq, frames: Encoding::ALL.map(encoded).into(), fanout });
                }
                LogStep::Cut(at) => {
                    let count = at.index(model.len() + 1);
                    let to = model.get(count).map_or(log.head(), |kept| kept.number);
                    let mut delivered = 0;
                    log.cut(to, |_, count| delivered += count);
                    prop_assert_eq!(delivered, model.drain(..count).map(|kept| u64::from(kept.fanout)).sum::<u64>());
                }
                LogStep::Forgive(at) if !model.is_empty() => {
                    let at = at.index(model.len());
                    if model[at].fanout > 0 {
                        model[at].fanout -= 1;
                        log.forgive(model[at].number);
                    }
                }
                LogStep::Hold(at, encoding) if !model.is_empty() => {
                    let kept = &model[at.index(model.len())];
                    let held = log.hold(Encoding::ALL[encoding], kept.number);
                    prop_assert!(Rc::ptr_eq(&held, &log.hold(Encoding::ALL[encoding], kept.number)), "one copy for all");
                    queued.push((held, kept.frames[encoding].clone()));
                }
                LogStep::Forgive(_) | LogStep::Hold(..) => {}
            }
            compare(&log, &model);
        }
        for (held, frame) in queued {
            prop_assert_eq!(&held.bytes, &frame, "held beyond the cut");
        }
    }
}
