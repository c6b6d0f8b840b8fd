// SPDX-License-Identifier: GPL-2.0

//! Every request and response in both dialects, written out byte by byte.

use std::net::{
    Ipv4Addr,
    Ipv6Addr,
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6, //
};

use xensock_hosttest::proto::{
    errno::{
        self,
        Ending, //
    },
    ring::Order,
    value::{
        Piece,
        Value, //
    },
    Body,
    Call,
    Command,
    Dialect,
    Malformed,
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
            owner: 0,
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

    written_out(XenSock, 0, Call::Disconnect { id: ID }, &[(44, &[2])]);
    written_out(
        XenSock,
        8,
        Call::SetSockOpt {
            id: ID,
            level: 0x5853,
            name: 26,
            value: Value::int(-2),
        },
        &[
            (16, &[0x53, 0x58]),
            (20, &[26]),
            (24, &[4]),
            (28, &[0xfe, 0xff, 0xff, 0xff]),
        ],
    );
    written_out(
        XenSock,
        9,
        Call::GetSockOpt {
            id: ID,
            level: 6,
            name: 11,
            offset: 0x120,
        },
        &[(16, &[6]), (20, &[11]), (24, &[0x20, 1])],
    );
    written_out(
        XenSock,
        10,
        Call::GetName { id: ID, peer: true },
        &[(16, &[1])],
    );
    let ring = RingRef {
        grant: 0x0102_0304,
        port: 17,
    };
    written_out(
        XenSock,
        11,
        Call::Attach { id: ID, ring },
        &[(16, &[4, 3, 2, 1]), (20, &[17])],
    );
    written_out(
        XenSock,
        12,
        Call::Unmap { id: ID, ring },
        &[(16, &[4, 3, 2, 1]), (20, &[17])],
    );
    let grow = |way| Call::Grow {
        id: ID,
        way,
        order: Order::MAX,
    };
    written_out(XenSock, 13, grow(Way::In), &[(20, &[9])]);
    written_out(XenSock, 13, grow(Way::Out), &[(16, &[1]), (20, &[9])]);
    let way = Way::Out;
    written_out(XenSock, 14, Call::Shrink { id: ID, way }, &[(16, &[1])]);
    written_out(XenSock, 15, Call::Withdraw { id: ID }, &[]);
}

#[test]
fn responses_written_out() {
    let response = Response {
        req_id: 42,
        cmd: 4,
        ret: -111,
        id: ID,
        body: Body::Empty,
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
    assert_eq!(response.result(XenSock), Err(errno::ECONNREFUSED));

    let address: [(usize, &[u8]); 2] = [(24, &[2, 0, 0, 80, 127, 0, 0, 1]), (52, &[16])];
    let bytes = slot(&[&fields[..], &address].concat());
    let with_addr = Response {
        body: Body::Addr(v4()),
        ..response
    };
    assert_eq!(with_addr.encode(XenSock), (bytes, 64));
    assert_eq!(Response::decode(XenSock, &bytes), Ok(with_addr));
    // PV Calls ends at 24: what is behind means nothing.
    assert_eq!(Response::decode(PvCalls, &bytes), Ok(response));

    let value: [u8; 32] = std::array::from_fn(|i| i as u8 + 1);
    let bytes = slot(&[(4, &[9]), (24, &value), (56, &[0x0b, 1])]);
    let with_value = Response {
        req_id: 0,
        cmd: 9,
        ret: 0,
        id: 0,
        body: Body::Value(Piece {
            bytes: value,
            total: 0x10b,
        }),
    };
    assert_eq!(with_value.encode(XenSock), (bytes, 64));
    assert_eq!(Response::decode(XenSock, &bytes), Ok(with_value));
}

#[test]
fn what_pvcalls_cannot_say() {
    let encode = |call| Request { req_id: 0, call }.encode(PvCalls);
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 1));

    assert_eq!(encode(Call::Shutdown { id: 1, how: 0 }), None);
    assert_eq!(encode(Call::Bind { id: 1, addr: v6 }), None);
    assert_eq!(encode(Call::Disconnect { id: 1 }), None);
    assert_eq!(encode(Call::GetName { id: 1, peer: true }), None);
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

    assert_eq!(refusal(XenSock, cmd(16)), Err(-95));
    // GROW without an order, SHRINK of no direction.
    assert_eq!(refusal(XenSock, cmd(13)), Err(-22));
    let no_way = slot(&[(4, &[14]), (16, &[2])]);
    assert_eq!(refusal(XenSock, no_way), Err(-22));
    assert_eq!(refusal(XenSock, slot(&[(4, &[0, 1])])), Err(-95));
    assert_eq!(refusal(PvCalls, cmd(7)), Err(-524));
    assert_eq!(refusal(PvCalls, slot(&[(4, &[0xff; 4])])), Err(-524));

    // CONNECT without an address, with one of no family, with a length beyond the field.
    assert_eq!(refusal(XenSock, cmd(0)), Err(-22));
    assert_eq!(refusal(XenSock, slot(&[(16, &[1]), (44, &[16])])), Err(-97));
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
    assert_eq!(refusal(PvCalls, slot(&[(4, &[1]), (44, &[16])])), Err(-97));
    // Not even a family.
    assert_eq!(refusal(XenSock, slot(&[(44, &[1])])), Err(-22));
    // BIND, unlike CONNECT, has no use for family 0.
    assert_eq!(refusal(XenSock, slot(&[(4, &[4]), (44, &[16])])), Err(-97));
    // SHUTDOWN in a direction that is none.
    assert_eq!(refusal(XenSock, slot(&[(4, &[2]), (16, &[3])])), Err(-22));
    // SETSOCKOPT with more than fits, GETNAME of nobody.
    assert_eq!(refusal(XenSock, slot(&[(4, &[8]), (24, &[33])])), Err(-22));
    assert_eq!(
        refusal(XenSock, slot(&[(4, &[8]), (24, &[4, 1])])),
        Err(-22)
    );
    assert_eq!(refusal(XenSock, slot(&[(4, &[10]), (16, &[2])])), Err(-22));

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
            body: Body::Empty,
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

/// No request is answered by a number for which a program would wait or try again, but for those
/// that may be told so.
#[test]
fn results_are_final() {
    for dialect in Dialect::ALL {
        for command in Command::ALL {
            let Some(cmd) = dialect.number(command) else {
                continue;
            };
            let result = |ret| {
                Response {
                    req_id: 1,
                    cmd,
                    ret,
                    id: ID,
                    body: Body::Empty,
                }
                .result(dialect)
            };
            let may_again = match dialect {
                XenSock => command == Command::Poll,
                PvCalls => matches!(command, Command::Poll | Command::Accept),
            };
            assert_eq!(result(0), Ok(()));
            for &(name, number) in errno::TABLE {
                let known = match number {
                    4 | 11 | 85 | 114 | 115 if !may_again => errno::EIO,
                    524 => errno::EOPNOTSUPP,
                    number => number,
                };
                assert_eq!(result(-number), Err(known), "{command:?} {name}");
            }
            for odd in [1, -512, -516, i32::MAX, i32::MIN] {
                assert_eq!(result(odd), Err(errno::EIO), "{command:?} {odd}");
            }
        }
    }
}

#[test]
fn endings() {
    assert_eq!(Ending::from_wire(0), Ending::Open);
    assert_eq!(Ending::from_wire(-107), Ending::Orderly);
    assert_eq!(Ending::from_wire(-104), Ending::Failed(104));
    assert_eq!(Ending::from_wire(7), Ending::Failed(errno::EIO));
    assert_eq!(Ending::Failed(0).to_wire(), -errno::EIO);
    // A direction that has ended does not say: try again.
    assert_eq!(
        Ending::from_wire(-errno::EAGAIN),
        Ending::Failed(errno::EIO)
    );
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
