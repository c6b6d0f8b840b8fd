// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the XenSock protocol.
//!
//! The thorough tests run on the host, see `tools/hosttest`. These show that the protocol, as it is
//! compiled for this kernel and machine, puts the bytes where they belong. They need no Xen.

use kernel::prelude::*;

#[path = "proto/mod.rs"]
pub mod proto;

module! {
    type: Tests,
    name: "xensock_kunit",
    authors: ["The XenSock authors"],
    description: "KUnit tests of the XenSock protocol",
    license: "GPL",
}

/// The module: its suites register themselves.
struct Tests;

impl kernel::Module for Tests {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

/// Slots, written out.
#[kunit_tests(xensock_wire)]
mod wire {
    use super::proto::{
        addr,
        errno,
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

    /// A CONNECT to 127.0.0.1:80 and its slot, but for the number of the command.
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
            },
        };
        slot[4] = 1;
        assert_eq!(socket.encode(Dialect::XenSock), Some(slot));
        slot[4] = 0;
        assert_eq!(socket.encode(Dialect::PvCalls), Some(slot));

        // RELEASE with a reset, which PV Calls cannot say.
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
    fn response_of_both_dialects() {
        let response = Response {
            req_id: 42,
            cmd: 4,
            ret: -errno::ECONNREFUSED,
            id: 7,
            addr: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 80))),
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
        assert_eq!(response.result(), Err(errno::ECONNREFUSED));
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

/// Indexes of data rings.
#[kunit_tests(xensock_ring)]
mod ring {
    use super::proto::ring::{
        crossed,
        queued,
        space,
        spans,
        Order,
        Span,
        Violation, //
    };

    #[test]
    fn indexes_wrap() {
        for cons in [0, 1, u32::MAX - 4096, u32::MAX - 1, u32::MAX] {
            for n in [0, 1, 4095, 4096] {
                let prod = cons.wrapping_add(n);
                assert_eq!(queued(prod, cons, 4096), Ok(n));
                assert_eq!(space(prod, cons, 4096), Ok(4096 - n));
            }
            assert_eq!(queued(cons.wrapping_add(4097), cons, 4096), Err(Violation));
            assert_eq!(queued(cons.wrapping_sub(1), cons, 4096), Err(Violation));
        }
    }

    #[test]
    fn spans_wrap() {
        let span = |offset, len| Span { offset, len };
        assert_eq!(spans(0, 10, 4096), [span(0, 10), span(0, 0)]);
        assert_eq!(spans(4090, 10, 4096), [span(4090, 6), span(0, 4)]);
        assert_eq!(spans(u32::MAX, 2, 4096), [span(4095, 1), span(0, 1)]);
        assert_eq!(spans(1, u32::MAX, 4096), [span(1, 4095), span(0, 1)]);
    }

    #[test]
    fn events_are_crossed() {
        assert!(crossed(1, 0, 1));
        assert!(!crossed(1, 1, 2));
        assert!(!crossed(3, 0, 2));
        assert!(crossed(0, u32::MAX, 1));
        assert!(!crossed(u32::MAX, u32::MAX, 1));
        assert!(!crossed(5, 5, 5));
    }

    #[test]
    fn orders() {
        assert!(Order::new(0).is_none());
        assert!(Order::new(10).is_none());
        assert_eq!(Order::MAX.half_size(), 1 << 20);
        assert_eq!(Order::for_size(4097).get(), 2);
        for n in 1..=9 {
            let order = Order::new(n).unwrap_or(Order::MAX);
            assert_eq!(order.pages() * 4096, 2 * order.half_len());
        }
    }
}

/// The states of the link.
#[kunit_tests(xensock_link)]
mod link {
    use super::proto::{
        link::{
            back_next,
            front_next,
            BackAction,
            FrontAction,
            State, //
        },
        Handle,
    };

    #[test]
    fn boot() {
        assert_eq!(
            back_next(State::Initialising, State::Initialising, true),
            BackAction::Offer
        );
        assert_eq!(
            front_next(State::Initialising, State::InitWait),
            FrontAction::Connect
        );
        assert_eq!(
            back_next(State::InitWait, State::Initialised, true),
            BackAction::Connect
        );
        assert_eq!(
            front_next(State::Initialised, State::Connected),
            FrontAction::Connected
        );
    }

    #[test]
    fn either_end_leaves() {
        for gone in [State::Closing, State::Closed, State::Unknown] {
            assert_eq!(front_next(State::Connected, gone), FrontAction::Close);
        }
        assert_eq!(
            back_next(State::Connected, State::Closing, true),
            BackAction::Disconnect
        );
        assert_eq!(
            back_next(State::Connected, State::Closed, true),
            BackAction::Close
        );
        assert_eq!(
            back_next(State::Connected, State::Unknown, true),
            BackAction::Remove
        );
    }

    #[test]
    fn either_end_comes_back() {
        for new in [State::Initialising, State::InitWait] {
            assert_eq!(front_next(State::Connected, new), FrontAction::Reset);
            assert_eq!(front_next(State::Closed, new), FrontAction::Reset);
        }
        for own in [State::Connected, State::Closing, State::Closed] {
            assert_eq!(back_next(own, State::Initialising, true), BackAction::Offer);
        }
        assert_eq!(
            back_next(State::Connected, State::Initialising, false),
            BackAction::Close
        );
    }

    #[test]
    fn handles() {
        let handle = Handle::new(5, 0);
        assert_eq!(handle.to_wire(), 0x1_0000_0005);
        assert_eq!(Handle::from_wire(handle.to_wire()), Some(handle));
        assert_eq!(Handle::from_wire(5), None);
        assert_eq!(Handle::new(5, u32::MAX).next(), handle);
    }
}
