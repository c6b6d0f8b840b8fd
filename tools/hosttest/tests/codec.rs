// SPDX-License-Identifier: GPL-2.0

//! Every request and response in both dialects: round trips, and garbage.

mod common;

use common::address;
use proptest::prelude::*;
use xensock_hosttest::proto::{
    addr::{
        self,
        BadAddr, //
    },
    errno,
    ring::Order,
    value::{
        Piece,
        Value,
        MAX_LEN, //
    },
    Body,
    Call,
    Dialect,
    Request,
    Response,
    RingRef,
    Way,
    SLOT, //
};

use Dialect::{
    PvCalls,
    XenSock, //
};

/// The number of GETSOCKOPT.
const GETSOCKOPT: u32 = 9;

/// Any value of at most what fits.
fn value() -> impl Strategy<Value = Value> {
    (any::<[u8; MAX_LEN]>(), 0..=32u32)
        .prop_map(|(bytes, len)| Value::from_padded(&bytes, len).unwrap())
}

/// Any call that a dialect has.
fn call(dialect: Dialect) -> BoxedStrategy<Call> {
    let ring = (any::<u32>(), any::<u32>()).prop_map(|(grant, port)| RingRef { grant, port });
    let id = any::<u64>();
    let owner = match dialect {
        XenSock => any::<u64>().boxed(),
        PvCalls => Just(0).boxed(),
    };
    let common = prop_oneof![
        (id, any::<u32>(), any::<u32>(), any::<u32>(), owner).prop_map(
            |(id, domain, kind, protocol, owner)| Call::Socket {
                id,
                domain,
                kind,
                protocol,
                owner,
            }
        ),
        (id, address(dialect), any::<u32>(), ring.clone()).prop_map(|(id, addr, flags, ring)| {
            Call::Connect {
                id,
                addr,
                flags,
                ring,
            }
        }),
        (id, address(dialect)).prop_map(|(id, addr)| Call::Bind { id, addr }),
        (id, any::<u32>()).prop_map(|(id, backlog)| Call::Listen { id, backlog }),
        (id, any::<u64>(), ring).prop_map(|(id, id_new, ring)| Call::Accept { id, id_new, ring }),
        id.prop_map(|id| Call::Poll { id }),
    ];
    let flags = match dialect {
        XenSock => any::<(bool, bool)>().boxed(),
        PvCalls => Just((false, false)).boxed(),
    };
    let release = (id, flags).prop_map(|(id, (abort, reuse))| Call::Release { id, abort, reuse });
    let native = prop_oneof![
        (id, 0u32..3).prop_map(|(id, how)| Call::Shutdown { id, how }),
        id.prop_map(|id| Call::Disconnect { id }),
        (id, any::<u32>(), any::<u32>(), value()).prop_map(|(id, level, name, value)| {
            Call::SetSockOpt {
                id,
                level,
                name,
                value,
            }
        }),
        (id, any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(id, level, name, offset)| {
            Call::GetSockOpt {
                id,
                level,
                name,
                offset,
            }
        }),
        (id, any::<bool>()).prop_map(|(id, peer)| Call::GetName { id, peer }),
        (id, any::<(u32, u32)>()).prop_map(|(id, (grant, port))| Call::Attach {
            id,
            ring: RingRef { grant, port },
        }),
        (id, any::<(u32, u32)>()).prop_map(|(id, (grant, port))| Call::Unmap {
            id,
            ring: RingRef { grant, port },
        }),
        (id, way(), 1u32..10).prop_map(|(id, way, order)| Call::Grow {
            id,
            way,
            order: Order::new(order).unwrap(),
        }),
        (id, way()).prop_map(|(id, way)| Call::Shrink { id, way }),
        id.prop_map(|id| Call::Withdraw { id }),
    ];

    match dialect {
        XenSock => prop_oneof![6 => common, 1 => release, 6 => native].boxed(),
        PvCalls => prop_oneof![6 => common, 1 => release].boxed(),
    }
}

/// A direction of a data ring.
fn way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::In), Just(Way::Out)]
}

/// A dialect and something of it.
fn of<T: std::fmt::Debug + 'static>(
    make: fn(Dialect) -> BoxedStrategy<T>,
) -> impl Strategy<Value = (Dialect, T)> {
    prop_oneof![Just(XenSock), Just(PvCalls)].prop_flat_map(move |d| (Just(d), make(d)))
}

/// Any bytes, half of them with a command that exists and an address that may be one.
fn garbage() -> impl Strategy<Value = [u8; SLOT]> {
    let any_slot = proptest::array::uniform::<_, SLOT>(any::<u8>());
    let family = prop_oneof![Just(0u8), Just(1), Just(2), Just(10)];

    (any_slot, any::<bool>(), 0u8..15, family, 0u8..40).prop_map(
        |(mut slot, likely, cmd, family, len)| {
            if likely {
                slot[4..8].copy_from_slice(&[cmd, 0, 0, 0]);
                slot[16..18].copy_from_slice(&[family, 0]);
                // The address of a response, or the length of a value.
                slot[24..28].copy_from_slice(&[family, 0, 0, 0]);
                slot[44..48].copy_from_slice(&[len, 0, 0, 0]);
                slot[52..56].copy_from_slice(&[len, 0, 0, 0]);
            }
            slot
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn requests_come_back((dialect, call) in of(call), req_id: u32) {
        let request = Request { req_id, call };
        let slot = request.encode(dialect).unwrap();

        prop_assert_eq!(Request::decode(dialect, &slot), Ok(request));

        let response = request.response(dialect, -5).unwrap();
        prop_assert_eq!(response.req_id, req_id);
        prop_assert_eq!(response.id, call.id());
        prop_assert_eq!(dialect.command(response.cmd), Some(call.command()));
    }

    #[test]
    fn responses_come_back(
        (dialect, addr) in of(|d| proptest::option::of(address(d)).boxed()),
        (req_id, ret, id) in any::<(u32, i32, u64)>(),
        cmd in any::<u32>().prop_filter("has values", |&cmd| cmd != GETSOCKOPT),
        rest in any::<[u8; 32]>(),
    ) {
        let body = addr.map_or(Body::Empty, Body::Addr);
        let response = Response { req_id, cmd, ret, id, body };
        let (mut slot, len) = response.encode(dialect);

        prop_assert_eq!(len, dialect.response_len());
        // Whatever is behind the response stays what it was.
        slot[len..].iter_mut().zip(rest).for_each(|(to, from)| *to = from);
        let expected = match dialect {
            XenSock => response,
            PvCalls => Response { body: Body::Empty, ..response },
        };
        prop_assert_eq!(Response::decode(dialect, &slot), Ok(expected));
    }

    #[test]
    fn values_come_back(
        (req_id, id, bytes, total) in any::<(u32, u64, [u8; MAX_LEN], u32)>(),
        ret in prop_oneof![Just(0), any::<i32>()],
    ) {
        let body = Body::Value(Piece { bytes, total });
        let response = Response { req_id, cmd: GETSOCKOPT, ret, id, body };
        let (slot, len) = response.encode(XenSock);

        prop_assert_eq!(len, SLOT);
        let expected = match ret {
            0 => response,
            _ => Response { body: Body::Empty, ..response },
        };
        prop_assert_eq!(Response::decode(XenSock, &slot), Ok(expected));
        // PV Calls has neither the command nor a place for the value.
        let (slot, _) = response.encode(PvCalls);
        prop_assert_eq!(&slot[24..], &[0; 40]);
    }

    #[test]
    fn values_are_read_in_pieces(value in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut read = Vec::new();

        loop {
            let offset = read.len() as u32;
            let piece = Piece::of(&value, offset).unwrap();
            prop_assert_eq!(piece.total as usize, value.len());
            read.extend_from_slice(piece.at(offset));
            if read.len() == value.len() {
                break;
            }
        }
        prop_assert_eq!(read, value);
    }

    #[test]
    fn odd_pieces_are_refused(
        value in proptest::collection::vec(any::<u8>(), 0..200),
        offset: u32,
        piece in any::<([u8; MAX_LEN], u32)>().prop_map(|(bytes, total)| Piece { bytes, total }),
    ) {
        for offset in [offset, offset % 256] {
            let inside = offset == 0 || (offset as usize) < value.len();
            let exists = Piece::of(&value, offset).is_some();
            prop_assert_eq!(exists, offset % 32 == 0 && inside);
            // Whatever the backend says of the length.
            prop_assert!(piece.at(offset).len() <= MAX_LEN);
        }
    }

    #[test]
    fn garbage_is_a_request_or_an_answer(slot in garbage(), native: bool) {
        let dialect = if native { XenSock } else { PvCalls };

        match Request::decode(dialect, &slot) {
            Ok(request) => {
                // What it means survives; what it does not mean is gone.
                let again = request.encode(dialect).unwrap();
                prop_assert_eq!(Request::decode(dialect, &again), Ok(request));
                prop_assert_eq!(&again[..16], &slot[..16]);
            }
            Err(malformed) => {
                prop_assert!(errno::is_known(-malformed.errno));
                prop_assert_eq!(&malformed.req_id.to_le_bytes()[..], &slot[0..4]);
                prop_assert_eq!(&malformed.cmd.to_le_bytes()[..], &slot[4..8]);
                prop_assert_eq!(&malformed.id.to_le_bytes()[..], &slot[8..16]);
            }
        }
    }

    #[test]
    fn garbage_is_a_response_or_none(slot in garbage(), native: bool) {
        let dialect = if native { XenSock } else { PvCalls };

        match Response::decode(dialect, &slot) {
            Ok(response) => {
                let (again, _) = response.encode(dialect);
                prop_assert_eq!(Response::decode(dialect, &again), Ok(response));
                if let Err(number) = response.result(dialect) {
                    prop_assert!(errno::is_known(number) && number != errno::ENOTSUPP);
                }
            }
            Err(BadAddr::Length | BadAddr::Family) => prop_assert!(native),
        }
    }

    #[test]
    fn addresses_come_back((dialect, address) in of(address)) {
        let (bytes, len) = addr::encode(dialect, &address).unwrap();

        prop_assert_eq!(addr::decode(dialect, &bytes, len), Ok(address));
    }
}
