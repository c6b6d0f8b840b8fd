// SPDX-License-Identifier: GPL-2.0

//! Slots of the commands ring, written out.

use kernel::prelude::*;

#[kunit_tests(xensock_wire)]
mod tests {
    use crate::proto::{
        addr,
        errno,
        value::{
            Piece,
            Value, //
        },
        Body,
        Call,
        Dialect,
        Request,
        Response,
        RingRef,
        SLOT, //
    };
    use core::net::{
        Ipv4Addr,
        Ipv6Addr,
        SocketAddr,
        SocketAddrV6, //
    };

    /// Returns a CONNECT to 127.0.0.1:80 and its slot. `cmd` is the number of the command.
    fn connect(cmd: u8) -> (Request, [u8; SLOT]) {
        let request = Request {
            req_id: 42,
            call: Call::Connect {
                id: 0x1122_3344_5566_7788,
                addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 80)),
                flags: 0,
                ring: RingRef {
                    grant: 0x0102_0304,
                    port: 17,
                },
            },
        };
        let mut slot = [0; SLOT];
        slot[0] = 42;
        slot[4] = cmd;
        slot[8..16].copy_from_slice(&[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
        slot[16..24].copy_from_slice(&[2, 0, 0, 80, 127, 0, 0, 1]);
        slot[44] = 16;
        slot[52..56].copy_from_slice(&[4, 3, 2, 1]);
        slot[56] = 17;
        (request, slot)
    }

    #[test]
    fn connect_of_both_dialects() {
        for (dialect, cmd) in [(Dialect::XenSock, 0), (Dialect::PvCalls, 1)] {
            let (request, slot) = connect(cmd);
            assert_eq!(request.encode(dialect), Some(slot));
            assert_eq!(Request::decode(dialect, &slot), Ok(request));
        }
    }

    #[test]
    fn other_requests() {
        let (request, mut slot) = connect(0);
        let id = request.call.id();
        slot[16..].fill(0);

        // SOCKET, domain 2, type 1.
        slot[16] = 2;
        slot[20] = 1;
        let socket = Request {
            req_id: 42,
            call: Call::Socket {
                id,
                domain: 2,
                kind: 1,
                protocol: 0,
                owner: 258,
            },
        };
        slot[4] = 1;
        slot[32] = 2;
        slot[33] = 1;
        assert_eq!(socket.encode(Dialect::XenSock), Some(slot));
        // PV Calls has no owners.
        slot[4] = 0;
        slot[32..34].fill(0);
        assert_eq!(socket.encode(Dialect::PvCalls), Some(slot));

        // RELEASE with a reset, which PV Calls cannot express.
        slot[16..].fill(0);
        let release = Request {
            req_id: 42,
            call: Call::Release {
                id,
                abort: true,
                reuse: false,
            },
        };
        slot[4] = 2;
        assert_eq!(release.encode(Dialect::PvCalls), Some(slot));
        slot[4] = 3;
        slot[17] = 1;
        assert_eq!(release.encode(Dialect::XenSock), Some(slot));
    }

    #[test]
    fn options() {
        let (request, mut slot) = connect(8);
        let id = request.call.id();
        slot[16..].fill(0);

        // TCP_NODELAY to 1.
        slot[16] = 6;
        slot[20] = 1;
        slot[24] = 4;
        slot[28] = 1;
        let set = Request {
            req_id: 42,
            call: Call::SetSockOpt {
                id,
                level: 6,
                name: 1,
                value: Value::int(1),
            },
        };
        assert_eq!(set.encode(Dialect::XenSock), Some(slot));
        assert_eq!(set.encode(Dialect::PvCalls), None);
        assert_eq!(Request::decode(Dialect::XenSock, &slot), Ok(set));
        // More bytes than the field has.
        slot[24] = 33;
        assert!(Request::decode(Dialect::XenSock, &slot).is_err());

        // The last piece of a value of 40 bytes.
        let response = Response {
            req_id: 42,
            cmd: 9,
            ret: 0,
            id: 7,
            body: Body::Value(Piece::of(&[3; 40], 32).unwrap()),
        };
        let mut slot = [0; SLOT];
        slot[0] = 42;
        slot[4] = 9;
        slot[16] = 7;
        slot[24..32].fill(3);
        slot[56] = 40;
        assert_eq!(response.encode(Dialect::XenSock), (slot, 64));
        assert_eq!(Response::decode(Dialect::XenSock, &slot), Ok(response));
    }

    #[test]
    fn response_of_both_dialects() {
        let response = Response {
            req_id: 42,
            cmd: 4,
            ret: -errno::ECONNREFUSED,
            id: 7,
            body: Body::Addr(SocketAddr::from((Ipv4Addr::LOCALHOST, 80))),
        };
        let mut slot = [0; SLOT];
        slot[0] = 42;
        slot[4] = 4;
        slot[8..12].copy_from_slice(&[0x91, 0xff, 0xff, 0xff]);
        slot[16] = 7;
        assert_eq!(response.encode(Dialect::PvCalls), (slot, 24));
        slot[24..32].copy_from_slice(&[2, 0, 0, 80, 127, 0, 0, 1]);
        slot[52] = 16;
        assert_eq!(response.encode(Dialect::XenSock), (slot, 64));
        assert_eq!(Response::decode(Dialect::XenSock, &slot), Ok(response));
        for dialect in Dialect::ALL {
            assert_eq!(response.result(dialect), Err(errno::ECONNREFUSED));
        }
    }

    #[test]
    fn refusals() {
        let mut slot = [0; SLOT];
        slot[4] = 99;
        let refused =
            |dialect, slot: &[u8; SLOT]| Request::decode(dialect, slot).map_err(|m| m.errno);
        assert_eq!(refused(Dialect::XenSock, &slot), Err(-95));
        assert_eq!(refused(Dialect::PvCalls, &slot), Err(-524));
        // CONNECT without an address.
        slot[4] = 0;
        assert_eq!(refused(Dialect::XenSock, &slot), Err(-22));
    }

    #[test]
    fn address_of_ipv6() {
        let v6 = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0x1234, 7, 3));
        let mut bytes = [0; addr::LEN];
        bytes[..5].copy_from_slice(&[10, 0, 0x12, 0x34, 7]);
        bytes[23] = 1;
        bytes[24] = 3;
        assert_eq!(addr::encode(Dialect::XenSock, &v6), Some((bytes, 28)));
        assert_eq!(addr::encode(Dialect::PvCalls, &v6), None);
        assert_eq!(addr::decode(Dialect::XenSock, &bytes, 28), Ok(v6));
        assert!(addr::decode(Dialect::PvCalls, &bytes, 28).is_err());
    }
}
