// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the XenSock protocol.
//!
//! The thorough tests run on the host, see `tools/hosttest`. The tests here show that the protocol,
//! as compiled for this kernel and machine, puts each byte in its place. They need no Xen.

use kernel::prelude::*;

#[path = "proto/mod.rs"]
pub mod proto;
#[path = "kunit/wire.rs"]
mod wire;

module! {
    type: Tests,
    name: "xensock_kunit",
    authors: ["The XenSock authors"],
    description: "KUnit tests of the XenSock protocol",
    license: "GPL",
}

/// The module. Its suites register themselves.
struct Tests;

impl kernel::Module for Tests {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

/// Indexes of data rings.
#[kunit_tests(xensock_ring)]
mod ring {
    use super::proto::ring::{
        crossed,
        queued,
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
        assert_eq!(
            Order::MAX
                .affordable_growth(Order::MIN, 32 * 128, 128)
                .map(Order::get),
            Some(8)
        );
        assert_eq!(Order::MAX.affordable_growth(Order::MIN, 32, 128), None);
        for n in 1..=9 {
            let order = Order::new(n).unwrap_or(Order::MAX);
            assert_eq!(order.pages() * 4096, 2 * order.half_len());
        }
    }
}

/// Options that are carried to the backend.
#[kunit_tests(xensock_option)]
mod option {
    use super::proto::{
        errno,
        option::{
            may_get,
            may_set,
            to_get,
            to_set,
            IP_TTL,
            SOL_IP,
            SOL_TCP,
            SOL_XS,
            TCP_CORK,
            TCP_INFO,
            XS_OUTQ, //
        },
        value::Value,
    };

    #[test]
    fn directions() {
        let cork = to_set(SOL_TCP, TCP_CORK, &7i32.to_ne_bytes());
        assert_eq!(cork.map(|(_, value)| value), Ok(Value::int(1)));
        assert!(may_set(SOL_TCP, TCP_CORK, &Value::int(1)).is_ok());
        assert!(may_get(SOL_TCP, TCP_INFO).is_ok());
        assert_eq!(
            may_set(SOL_TCP, TCP_INFO, &Value::int(1)).err(),
            Some(errno::ENOPROTOOPT)
        );
        assert_eq!(to_get(SOL_XS, XS_OUTQ).err(), Some(errno::ENOPROTOOPT));
    }

    #[test]
    fn values() {
        let ttl = |given: &[u8]| to_set(SOL_IP, IP_TTL, given).map(|(_, value)| value.to_int());
        assert_eq!(ttl(&(-1i32).to_ne_bytes()), Ok(Some(-1)));
        assert_eq!(ttl(&[64]), Ok(Some(64)));
        assert_eq!(ttl(&256i32.to_ne_bytes()), Err(errno::EINVAL));
        assert_eq!(ttl(&[]), Err(errno::EINVAL));
    }
}

/// Frames of datagrams.
#[kunit_tests(xensock_frame)]
mod frame {
    use super::proto::{
        errno,
        frame::{
            BadFrame,
            Frame,
            HEADER, //
        },
    };
    use core::net::{
        Ipv4Addr,
        SocketAddr, //
    };

    #[test]
    fn frames() {
        let frame = Frame::Data {
            len: 9,
            addr: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 53))),
            has_info: false,
        };
        let mut header = [0; HEADER];
        header[0] = 9;
        header[8..16].copy_from_slice(&[2, 0, 0, 53, 127, 0, 0, 1]);
        header[36] = 16;
        assert_eq!(frame.encode(), header);
        assert_eq!(Frame::decode(&header, 56), Ok((frame, 56)));
        assert_eq!(Frame::decode(&header, 55), Err(BadFrame::Length));
        header[..4].fill(0xff);
        assert_eq!(Frame::decode(&header, u32::MAX), Err(BadFrame::Length));

        let error = Frame::Error(errno::ECONNREFUSED);
        assert_eq!(Frame::decode(&error.encode(), 40), Ok((error, 40)));
    }
}

/// The status words.
#[kunit_tests(xensock_status)]
mod status {
    use super::proto::{
        errno,
        status::Outcome, //
    };

    #[test]
    fn outcomes() {
        assert_eq!(Outcome::from_wire(0), Outcome::Pending);
        assert_eq!(Outcome::from_wire(1), Outcome::Established);
        assert_eq!(Outcome::from_wire(2), Outcome::Nonsense);
        assert_eq!(
            Outcome::from_wire(-errno::ETIMEDOUT),
            Outcome::Failed(errno::ETIMEDOUT)
        );
        assert_eq!(Outcome::from_wire(i32::MIN), Outcome::Failed(errno::EIO));
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
            EndState,
            FrontAction, //
        }, //
    };

    #[test]
    fn boot() {
        assert_eq!(
            back_next(EndState::Initialising, EndState::Initialising, true),
            BackAction::Offer
        );
        assert_eq!(
            front_next(EndState::Initialising, EndState::InitWait),
            FrontAction::Connect
        );
        assert_eq!(
            back_next(EndState::InitWait, EndState::Initialised, true),
            BackAction::Connect
        );
        assert_eq!(
            front_next(EndState::Initialised, EndState::Connected),
            FrontAction::Connected
        );
    }

    #[test]
    fn either_end_leaves() {
        for gone in [EndState::Closing, EndState::Closed, EndState::Unknown] {
            assert_eq!(front_next(EndState::Connected, gone), FrontAction::Close);
        }
        assert_eq!(
            back_next(EndState::Connected, EndState::Closing, true),
            BackAction::Disconnect
        );
        assert_eq!(
            back_next(EndState::Connected, EndState::Closed, true),
            BackAction::Close
        );
        assert_eq!(
            back_next(EndState::Connected, EndState::Unknown, true),
            BackAction::Remove
        );
    }

    #[test]
    fn either_end_comes_back() {
        for new in [EndState::Initialising, EndState::InitWait] {
            assert_eq!(front_next(EndState::Connected, new), FrontAction::Reset);
            assert_eq!(front_next(EndState::Closed, new), FrontAction::Reset);
        }
        for own in [EndState::Connected, EndState::Closing, EndState::Closed] {
            assert_eq!(
                back_next(own, EndState::Initialising, true),
                BackAction::Offer
            );
        }
        assert_eq!(
            back_next(EndState::Connected, EndState::Initialising, false),
            BackAction::Close
        );
    }
}
