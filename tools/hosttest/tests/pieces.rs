// SPDX-License-Identifier: GPL-2.0

//! Values of options in pieces: what a program gets, whatever the backend answers.

use proptest::prelude::*;
use xensock_hosttest::proto::{
    option::{
        self,
        Access,
        Kind,
        SockOpt, //
    },
    pieces::Pieces,
    value::{
        Piece,
        MAX_LEN, //
    }, //
};

/// Reads an option as a program with `room` bytes does; `answer` is the backend.
fn read(option: &SockOpt, room: usize, answer: impl Fn(u32) -> Piece) -> Option<Vec<u8>> {
    let first = answer(0);
    let pieces = Pieces::new(option, &first, room)?;
    let mut value = pieces.bytes(&first, 0)?.to_vec();

    for offset in pieces.offsets() {
        value.extend_from_slice(pieces.bytes(&answer(offset), offset)?);
    }
    value.truncate(option.program_len(&value, room));
    Some(value)
}

/// The most that a value of this kind can have.
fn max_len(option: &SockOpt) -> usize {
    match option.kind {
        Kind::Flag | Kind::Int { .. } | Kind::AnyInt => 4,
        Kind::Name => 16,
        Kind::Struct(max) => max as usize,
        Kind::Group => 0,
    }
}

fn readable() -> impl Strategy<Value = &'static SockOpt> {
    let options: Vec<_> = option::TABLE
        .iter()
        .map(|(_, option)| option)
        .filter(|option| matches!(option.access, Access::Get | Access::Both))
        .collect();
    proptest::sample::select(options)
}

/// Lengths that mean something somewhere, and any others.
fn total() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(4u32),
        Just(16),
        0..1100u32,
        any::<u32>(),
        Just(u32::MAX)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn an_honest_backend_is_read(
        option in readable(),
        bytes in proptest::collection::vec(any::<u8>(), 1024),
        len in 0..1025usize,
        room in 0..1500usize,
    ) {
        let len = match option.kind {
            Kind::Struct(max) => len.min(max as usize),
            _ => max_len(option),
        };
        let value = &bytes[..len];
        let got = read(option, room, |offset| Piece::of(value, offset).unwrap()).unwrap();

        prop_assert_eq!(&got[..], &value[..option.program_len(value, room)]);
    }

    #[test]
    fn no_answer_makes_a_value_too_long(
        option in readable(),
        totals in proptest::collection::vec(total(), 33),
        is_constant: bool,
        seed: u8,
        room in prop_oneof![0..1500usize, any::<usize>()],
    ) {
        // Byte 7 of the answer for offset 64 is told from all others.
        let byte = |offset: u32, i: usize| seed ^ (offset / 32) as u8 ^ (i as u8) << 3;
        let answer = |offset: u32| Piece {
            bytes: std::array::from_fn(|i| byte(offset, i)),
            total: totals[if is_constant { 0 } else { offset as usize / MAX_LEN }],
        };
        let Some(got) = read(option, room, answer) else {
            return Ok(());
        };
        prop_assert!(got.len() <= room);
        prop_assert!(got.len() <= max_len(option));
        prop_assert!(got.len() <= totals[0] as usize);
        for (i, &found) in got.iter().enumerate() {
            prop_assert_eq!(found, byte((i - i % MAX_LEN) as u32, i % MAX_LEN));
        }
    }

    #[test]
    fn pieces_of_other_values_are_refused(
        bytes in proptest::collection::vec(any::<u8>(), 33..1025),
        change in 1..u32::MAX,
        at in 1..32u32,
    ) {
        let option = option::may_get(option::SOL_TCP, option::TCP_INFO).unwrap();
        let changes = |offset: u32| {
            let mut piece = Piece::of(&bytes, offset).unwrap();
            if offset == at * MAX_LEN as u32 {
                piece.total = piece.total.wrapping_add(change);
            }
            piece
        };
        let reaches = (at as usize) < bytes.len().div_ceil(MAX_LEN);
        prop_assert_eq!(read(option, 1024, changes).is_none(), reaches);
    }
}

#[test]
fn lengths_that_no_value_has() {
    for (symbol, option) in option::TABLE {
        let max = max_len(option) as u32;
        for total in [max + 1, max + 28, 4096, u32::MAX, u32::MAX - 3] {
            let first = Piece {
                bytes: [0; MAX_LEN],
                total,
            };
            assert_eq!(Pieces::new(option, &first, 4096), None, "{symbol} {total}");
        }
    }
}
