// SPDX-License-Identifier: GPL-2.0

//! Every request and response in both dialects: written-out slots, round trips, and garbage.

use std::net::{
    Ipv4Addr,
    Ipv6Addr,
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6, //
};

use proptest::prelude::*;
use xensock_hosttest::proto::{
    addr::{
        self,
        BadAddr, //
    },
    errno::{
        self,
        Ending, //
    },
    node::{
        has_version_1,
        Offer, //
    },
    ring::Order,
    Call,
    Command,
    Dialect,
    Handle,
    Malformed,
    Request,
    Response,
    RingRef,
    SLOT, //
};

use Dialect::{
    PvCalls,
    XenSock, //
};

/// The socket in the written-out slots.
const ID: u64 = 0x1122_3344_5566_7788;

/// 127.0.0.1:80.
fn v4() -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80))
}

/// Builds a slot from fields: offset and bytes.
fn slot(fields: &[(usize, &[u8])]) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    for (offset, bytes) in fields {
        slot[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    slot
}

/// Checks a request against its bytes after `req_id`, `cmd` and `id`, in both directions.
fn written_out(dialect: Dialect, cmd: u8, call: Call, fields: &[(usize, &[u8])]) {
    let head: [(usize, &[u8]); 3] = [
        (0, &[0x2a, 0, 0, 0]),
        (4, &[cmd, 0, 0, 0]),
        (8, &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]),
    ];
    let expected = slot(&[&head, fields].concat());
    let request = Request { req_id: 42, call };

    assert_eq!(request.encode(dialect), Some(expected), "{request:?}");
    assert_eq!(Request::decode(dialect, &expected), Ok(request));
    assert_eq!(dialect.number(call.command()), Some(u32::from(cmd)));
    assert_eq!(call.id(), ID);
}

#[test]
fn requests_written_out() {
    let ring = RingRef {
        grant: 0x0102_0304,
        port: 17,
    };
    let sockaddr: &[u8] = &[2, 0, 0, 80, 127, 0, 0, 1];

    // Command numbers: native, PV Calls.
    for (dialect, [socket, connect, release, bind, listen, accept, poll]) in [
        (XenSock, [1, 0, 3, 4, 5, 6, 7]),
        (PvCalls, [0, 1, 2, 3, 4, 5, 6]),
    ] {
        let call = Call::Socket {
            id: ID,
            domain: 2,
            kind: 1,
            protocol: 6,
        };
        written_out(dialect, socket, call, &[(16, &[2]), (20, &[1]), (24, &[6])]);

        let call = Call::Connect {
            id: ID,
            addr: v4(),
            flags: 0x800,
            ring,
        };
        written_out(
            dialect,
            connect,
            call,
            &[
                (16, sockaddr),
                (44, &[16]),
                (48, &[0, 8]),
                (52, &[4, 3, 2, 1]),
                (56, &[17]),
            ],
        );

        let call = Call::Release {
            id: ID,
            abort: false,
            reuse: false,
        };
        written_out(dialect, release, call, &[]);

        let call = Call::Bind { id: ID, addr: v4() };
        written_out(dialect, bind, call, &[(16, sockaddr), (44, &[16])]);

        let call = Call::Listen {
            id: ID,
            backlog: 128,
        };
        written_out(dialect, listen, call, &[(16, &[128])]);

        let call = Call::Accept {
            id: ID,
            id_new: 0x99,
            ring,
        };
        written_out(
            dialect,
            accept,
            call,
            &[(16, &[0x99]), (24, &[4, 3, 2, 1]), (28, &[17])],
        );

        written_out(dialect, poll, Call::Poll { id: ID }, &[]);
    }
}

#[test]
fn native_requests_written_out() {
    written_out(
        XenSock,
        3,
        Call::Release {
            id: ID,
            abort: true,
            reuse: true,
        },
        &[(16, &[1, 1])],
    );
    written_out(XenSock, 2, Call::Shutdown { id: ID, how: 1 }, &[(16, &[1])]);

    let v6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0x1234, 7, 3);
    written_out(
        XenSock,
        4,
        Call::Bind {
            id: ID,
            addr: v6.into(),
        },
        &[
            (16, &[10, 0, 0x12, 0x34, 7]),
            (39, &[1]),
            (40, &[3]),
            (44, &[28]),
        ],
    );
}

#[test]
fn responses_written_out() {
    let response = Response {
        req_id: 42,
        cmd: 4,
        ret: -111,
        id: ID,
        addr: None,
    };
    let fields: [(usize, &[u8]); 4] = [
        (0, &[42]),
        (4, &[4]),
        (8, &[0x91, 0xff, 0xff, 0xff]),
        (16, &[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]),
    ];
    let bytes = slot(&fields);
    assert_eq!(response.encode(PvCalls), (bytes, 24));
    assert_eq!(response.encode(XenSock), (bytes, 64));
    assert_eq!(response.result(), Err(errno::ECONNREFUSED));

    let address: [(usize, &[u8]); 2] = [(24, &[2, 0, 0, 80, 127, 0, 0, 1]), (52, &[16])];
    let bytes = slot(&[&fields[..], &address].concat());
    let with_addr = Response {
        addr: Some(v4()),
        ..response
    };
    assert_eq!(with_addr.encode(XenSock), (bytes, 64));
    assert_eq!(Response::decode(XenSock, &bytes), Ok(with_addr));
    // PV Calls ends at 24: what is behind means nothing.
    assert_eq!(Response::decode(PvCalls, &bytes), Ok(response));
}

#[test]
fn what_pvcalls_cannot_say() {
    let encode = |call| Request { req_id: 0, call }.encode(PvCalls);
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 1));

    assert_eq!(encode(Call::Shutdown { id: 1, how: 0 }), None);
    assert_eq!(encode(Call::Bind { id: 1, addr: v6 }), None);
    // A release must be said, so what it cannot have is left out.
    let plain = encode(Call::Release {
        id: 1,
        abort: false,
        reuse: false,
    });
    let all = encode(Call::Release {
        id: 1,
        abort: true,
        reuse: true,
    });
    assert!(plain.is_some());
    assert_eq!(plain, all);
    // The C frontend leaves garbage where `reuse` is.
    let mut bytes = plain.unwrap();
    bytes[16..24].fill(0xff);
    assert_eq!(
        Request::decode(PvCalls, &bytes).map(|r| r.call),
        Ok(Call::Release {
            id: 1,
            abort: false,
            reuse: false,
        })
    );
}

#[test]
fn refusals() {
    let refusal =
        |dialect, bytes: [u8; SLOT]| Request::decode(dialect, &bytes).map_err(|m| m.errno);
    let cmd = |cmd: u8| slot(&[(4, &[cmd])]);

    assert_eq!(refusal(XenSock, cmd(8)), Err(-95));
    assert_eq!(refusal(XenSock, slot(&[(4, &[0, 1])])), Err(-95));
    assert_eq!(refusal(PvCalls, cmd(7)), Err(-524));
    assert_eq!(refusal(PvCalls, slot(&[(4, &[0xff; 4])])), Err(-524));

    // CONNECT without an address, with one of no family, with a length beyond the field.
    assert_eq!(refusal(XenSock, cmd(0)), Err(-22));
    assert_eq!(refusal(XenSock, slot(&[(44, &[16])])), Err(-97));
    assert_eq!(refusal(XenSock, slot(&[(16, &[2]), (44, &[29])])), Err(-22));
    assert_eq!(refusal(XenSock, slot(&[(16, &[2]), (44, &[15])])), Err(-22));
    assert_eq!(
        refusal(XenSock, slot(&[(16, &[10]), (44, &[27])])),
        Err(-22)
    );
    assert_eq!(
        refusal(PvCalls, slot(&[(4, &[1]), (16, &[10]), (44, &[28])])),
        Err(-97)
    );
    // SHUTDOWN in a direction that is none.
    assert_eq!(refusal(XenSock, slot(&[(4, &[2]), (16, &[3])])), Err(-22));

    let malformed = Malformed {
        req_id: 1,
        cmd: 99,
        id: 5,
        errno: -95,
    };
    assert_eq!(
        malformed.response(),
        Response {
            req_id: 1,
            cmd: 99,
            ret: -95,
            id: 5,
            addr: None,
        }
    );
}

#[test]
fn dialects() {
    for dialect in Dialect::ALL {
        assert_eq!(
            Dialect::from_device_name(dialect.device_name()),
            Some(dialect)
        );
        for command in Command::ALL {
            if let Some(number) = dialect.number(command) {
                assert_eq!(dialect.command(number), Some(command));
            }
        }
    }
    assert_eq!(Dialect::from_device_name(c"vif"), None);
    assert_eq!(XenSock.number(Command::Shutdown), Some(2));
    assert_eq!(PvCalls.number(Command::Shutdown), None);
}

#[test]
fn offers() {
    let read = |dialect, versions: &[u8], order, calls, events| {
        Offer::read(dialect, versions, order, calls, events)
            .map(|o| (o.max_order.get(), o.event_index))
    };

    assert_eq!(read(XenSock, b"1", 9, None, Some(1)), Some((9, true)));
    assert_eq!(read(XenSock, b"1", 4, None, None), Some((4, false)));
    assert_eq!(read(XenSock, b"1", 4, None, Some(2)), Some((4, false)));
    assert_eq!(read(XenSock, b"2", 4, None, None), None);
    assert_eq!(read(XenSock, b"1", 0, None, None), None);
    assert_eq!(read(XenSock, b"1", u32::MAX, None, None), Some((9, false)));
    assert_eq!(read(PvCalls, b"1", 4, Some(1), Some(1)), Some((4, false)));
    assert_eq!(read(PvCalls, b"1", 4, Some(0), None), None);
    assert_eq!(read(PvCalls, b"1", 4, None, None), None);

    assert!(has_version_1(b"1,2"));
    assert!(has_version_1(b"2, 1 "));
    for none in [&b""[..], b"11", b"2", b"1.0", b",", b"01"] {
        assert!(!has_version_1(none));
    }
}

#[test]
fn error_numbers() {
    let mut last = 0;
    for &(name, number) in errno::TABLE {
        assert!(number > last, "{name}");
        last = number;
        assert_eq!(errno::to_wire(number), -number);
        let known = if number == 524 { 95 } else { number };
        assert_eq!(errno::from_wire(-number), known);
    }
    assert_eq!(errno::to_wire(0), 0);
    assert_eq!(errno::from_wire(0), 0);
    for odd in [1, 13, -13 - 512, -4096, -15, i32::MAX, i32::MIN] {
        assert_eq!(errno::from_wire(odd), errno::EIO, "{odd}");
    }
    for odd in [-1, 15, 512, 4096, i32::MAX, i32::MIN] {
        assert_eq!(errno::to_wire(odd), -errno::EIO, "{odd}");
    }
}

#[test]
fn endings() {
    assert_eq!(Ending::from_wire(0), Ending::Open);
    assert_eq!(Ending::from_wire(-107), Ending::Orderly);
    assert_eq!(Ending::from_wire(-104), Ending::Failed(104));
    assert_eq!(Ending::from_wire(7), Ending::Failed(errno::EIO));
    assert_eq!(Ending::Failed(0).to_wire(), -errno::EIO);
    for ending in [Ending::Open, Ending::Orderly, Ending::Failed(errno::EPIPE)] {
        assert_eq!(Ending::from_wire(ending.to_wire()), ending);
    }
}

/// The text is normative, so it has the same numbers and names.
#[test]
fn the_document_has_the_same_errors() {
    let text = include_str!("../../../Documentation/networking/xensock/protocol.rst");
    let rows: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?;
            let number = words.next()?.parse().ok()?;
            (name.starts_with('E') && words.next().is_some()).then_some((name, number))
        })
        .collect();

    assert_eq!(rows, errno::TABLE);
}

/// Any address that a dialect has.
fn address(dialect: Dialect) -> BoxedStrategy<SocketAddr> {
    let v4 = (any::<Ipv4Addr>(), any::<u16>()).prop_map(SocketAddr::from);
    let v6 = (any::<Ipv6Addr>(), any::<u16>(), any::<u32>(), any::<u32>())
        .prop_map(|(ip, port, flow, scope)| SocketAddrV6::new(ip, port, flow, scope).into());

    match dialect {
        XenSock => prop_oneof![v4, v6].boxed(),
        PvCalls => v4.boxed(),
    }
}

/// Any call that a dialect has.
fn call(dialect: Dialect) -> BoxedStrategy<Call> {
    let ring = (any::<u32>(), any::<u32>()).prop_map(|(grant, port)| RingRef { grant, port });
    let id = any::<u64>();
    let common = prop_oneof![
        (id, any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(id, domain, kind, protocol)| {
            Call::Socket {
                id,
                domain,
                kind,
                protocol,
            }
        }),
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
    let shutdown = (id, 0u32..3).prop_map(|(id, how)| Call::Shutdown { id, how });

    match dialect {
        XenSock => prop_oneof![6 => common, 1 => release, 1 => shutdown].boxed(),
        PvCalls => prop_oneof![6 => common, 1 => release].boxed(),
    }
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
    let family = prop_oneof![Just(2u8), Just(10)];

    (any_slot, any::<bool>(), 0u8..9, family, 0u8..32).prop_map(
        |(mut slot, likely, cmd, family, len)| {
            if likely {
                slot[4..8].copy_from_slice(&[cmd, 0, 0, 0]);
                slot[16..18].copy_from_slice(&[family, 0]);
                slot[24..26].copy_from_slice(&[family, 0]);
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
        (req_id, cmd, ret, id) in any::<(u32, u32, i32, u64)>(),
        rest in any::<[u8; 32]>(),
    ) {
        let response = Response { req_id, cmd, ret, id, addr };
        let (mut slot, len) = response.encode(dialect);

        prop_assert_eq!(len, dialect.response_len());
        // Whatever is behind the response stays what it was.
        slot[len..].iter_mut().zip(rest).for_each(|(to, from)| *to = from);
        let expected = match dialect {
            XenSock => response,
            PvCalls => Response { addr: None, ..response },
        };
        prop_assert_eq!(Response::decode(dialect, &slot), Ok(expected));
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
                if let Err(number) = response.result() {
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

    #[test]
    fn handles_come_back(slot: u32, generation: u32) {
        let handle = Handle::new(slot, generation);

        prop_assert_eq!(handle.slot(), slot);
        prop_assert_eq!(handle.generation(), generation.max(1));
        prop_assert_eq!(Handle::from_wire(handle.to_wire()), Some(handle));
        prop_assert_ne!(handle.next(), handle);
        prop_assert_eq!(handle.next().slot(), slot);
        prop_assert_eq!(Handle::from_wire(u64::from(slot)), None);
    }

    #[test]
    fn orders_of_offers(order: u32) {
        let offer = Offer::read(XenSock, b"1", order, None, None);

        prop_assert_eq!(offer.map(|o| o.max_order), Order::new(order.min(9)));
    }
}
