// SPDX-License-Identifier: GPL-2.0

//! Frames of datagrams: written out, round trips, garbage, and a ring full of them.

mod common;

use std::net::{
    Ipv4Addr,
    SocketAddr, //
};

use common::address;
use proptest::prelude::*;
use xensock_hosttest::proto::{
    addr::BadAddr,
    errno,
    frame::{
        frame_len,
        max_payload,
        payload_at,
        BadFrame,
        Frame,
        HEADER, //
    },
    ring::{
        spans,
        Order, //
    },
    Dialect, //
};

/// Builds a header from fields: offset and bytes.
fn header(fields: &[(usize, &[u8])]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    for (offset, bytes) in fields {
        header[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    header
}

#[test]
fn frames_written_out() {
    let to_v4 = Frame::Data {
        len: 0x0102,
        addr: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 53))),
        has_info: false,
    };
    let bytes = header(&[(0, &[2, 1]), (8, &[2, 0, 0, 53, 127, 0, 0, 1]), (36, &[16])]);
    assert_eq!(to_v4.encode(), bytes);
    assert_eq!(Frame::decode(&bytes, 304), Ok((to_v4, 304)));
    assert_eq!(Frame::decode(&bytes, 303), Err(BadFrame::Length));

    let to_peer = |has_info| Frame::Data {
        len: 0,
        addr: None,
        has_info,
    };
    assert_eq!(to_peer(false).encode(), [0; HEADER]);
    assert_eq!(Frame::decode(&[0; HEADER], 4096), Ok((to_peer(false), 40)));

    let bytes = header(&[(4, &[2])]);
    assert_eq!(to_peer(true).encode(), bytes);
    assert_eq!(Frame::decode(&bytes, 120), Ok((to_peer(true), 120)));
    assert_eq!(Frame::decode(&bytes, 119), Err(BadFrame::Length));

    let refused = Frame::Error(errno::ECONNREFUSED);
    let bytes = header(&[(4, &[1]), (8, &[111])]);
    assert_eq!(refused.encode(), bytes);
    assert_eq!(Frame::decode(&bytes, 40), Ok((refused, 40)));

    let reported = Frame::Report {
        len: 9,
        addr: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 53))),
    };
    let bytes = header(&[
        (0, &[9]),
        (4, &[3]),
        (8, &[2, 0, 0, 53, 127, 0, 0, 1]),
        (36, &[16]),
    ]);
    assert_eq!(reported.encode(), bytes);
    assert_eq!(Frame::decode(&bytes, 136), Ok((reported, 136)));
    assert_eq!(Frame::decode(&bytes, 135), Err(BadFrame::Length));
}

#[test]
fn refusals() {
    let refusal = |fields: &[(usize, &[u8])]| Frame::decode(&header(fields), 4096).unwrap_err();

    assert_eq!(refusal(&[(4, &[4])]), BadFrame::Type);
    assert_eq!(refusal(&[(4, &[0, 1])]), BadFrame::Type);
    // An error has no payload.
    assert_eq!(refusal(&[(0, &[1]), (4, &[1])]), BadFrame::Length);
    // 4057 and the header are one more than there is; the others wrap.
    assert_eq!(refusal(&[(0, &[0xd9, 0xf])]), BadFrame::Length);
    for len in [u32::MAX, u32::MAX - 39, u32::MAX - 40, u32::MAX - 46] {
        assert_eq!(refusal(&[(0, &len.to_le_bytes())]), BadFrame::Length);
    }
    assert_eq!(
        refusal(&[(36, &[16])]),
        BadFrame::Addr(BadAddr::Family),
        "an address of family 0"
    );
    assert_eq!(
        refusal(&[(8, &[2]), (36, &[29])]),
        BadFrame::Addr(BadAddr::Length)
    );
    // An error that is none, one beyond the table, one that is negative, one that says: try again.
    for number in [0, 4095, -111, i32::MIN, errno::EAGAIN, errno::EINPROGRESS] {
        let header = header(&[(4, &[1]), (8, &number.to_le_bytes())]);
        let (frame, _) = Frame::decode(&header, 40).unwrap();
        assert_eq!(frame, Frame::Error(errno::EIO), "{number}");
    }
}

#[test]
fn what_fits() {
    assert_eq!(frame_len(0, false), Some(40));
    assert_eq!(frame_len(1, false), Some(48));
    assert_eq!(frame_len(8, false), Some(48));
    assert_eq!(frame_len(8, true), Some(128));
    for (order, has_info) in (1..=9).flat_map(|order| [(order, false), (order, true)]) {
        let size = Order::new(order).unwrap().half_size();
        let most = max_payload(size, has_info);
        assert_eq!(frame_len(most, has_info), Some(size));
        assert_eq!(frame_len(most + 1, has_info), Some(size + 8));
        assert_eq!(most + payload_at(has_info), size);
    }
    // The largest of UDP over IPv4.
    assert!(max_payload(Order::new(6).unwrap().half_size(), true) >= 65507);
    assert_eq!(max_payload(39, false), 0);
    assert_eq!(max_payload(119, true), 0);
}

/// Any frame.
fn frame() -> impl Strategy<Value = Frame> {
    let data = (
        0..=u32::MAX - 127,
        proptest::option::of(address(Dialect::XenSock)),
        any::<bool>(),
    )
        .prop_map(|(len, addr, has_info)| Frame::Data {
            len,
            addr,
            has_info,
        });
    let error = proptest::sample::select(errno::TABLE)
        .prop_filter("not in new words", |&(_, n)| {
            errno::final_from_wire(-n) == n
        })
        .prop_map(|(_, number)| Frame::Error(number));
    let addr = proptest::option::of(address(Dialect::XenSock));
    let report = (0..70000u32, addr).prop_map(|(len, addr)| Frame::Report { len, addr });
    prop_oneof![3 => data, 1 => error, 1 => report]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn frames_come_back(frame in frame(), more: u32) {
        let total = frame.total_len().unwrap();
        let header = frame.encode();

        let queued = total.saturating_add(more);
        prop_assert_eq!(Frame::decode(&header, queued), Ok((frame, total)));
        prop_assert_eq!(Frame::decode(&header, total - 1), Err(BadFrame::Length));
        prop_assert_eq!(total % 8, 0);
    }

    #[test]
    fn garbage_is_a_frame_or_none(bytes: [u8; HEADER], likely: [bool; 3], queued in 0u32..=1 << 20) {
        let mut header = bytes;
        if likely[0] {
            header[2..4].fill(0);
        }
        if likely[1] {
            header[4] &= 3;
            header[5] = 0;
        }
        if likely[2] {
            header[36..].fill(0);
        }

        if let Ok((frame, total)) = Frame::decode(&header, queued) {
            prop_assert!((HEADER as u32..=queued).contains(&total) && total % 8 == 0);
            prop_assert_eq!(frame.total_len(), Some(total));
            match frame {
                Frame::Data { len, has_info, .. } => {
                    prop_assert!(len <= total - payload_at(has_info));
                }
                Frame::Error(number) => prop_assert!(errno::is_known(number)),
                Frame::Report { len, .. } => prop_assert!(len <= total - payload_at(true)),
            }
            // What it means survives.
            prop_assert_eq!(Frame::decode(&frame.encode(), queued), Ok((frame, total)));
        }
    }

    #[test]
    fn a_ring_of_frames_is_read_back(
        start in any::<u32>().prop_map(|i| i & !7),
        lens in proptest::collection::vec(0u32..600, 1..12),
    ) {
        let size = Order::MIN.half_size();
        let mut ring = vec![0xa5; size as usize];
        let mut put = |index: u32, bytes: &[u8]| {
            for (i, byte) in bytes.iter().enumerate() {
                let [span, _] = spans(index.wrapping_add(i as u32), 1, size);
                ring[span.offset as usize] = *byte;
            }
        };
        let mut prod = start;
        let mut sent = Vec::new();
        for len in lens {
            let frame = Frame::Data {
                len,
                addr: None,
                has_info: false,
            };
            let total = frame.total_len().unwrap();
            if total > size - prod.wrapping_sub(start) {
                break;
            }
            let payload = vec![len as u8; len as usize];
            put(prod, &frame.encode());
            put(prod.wrapping_add(HEADER as u32), &payload);
            prod = prod.wrapping_add(total);
            sent.push(payload);
        }

        let mut cons = start;
        let mut got = Vec::new();
        while cons != prod {
            let get = |index: u32, len: u32| -> Vec<u8> {
                spans(index, len, size)
                    .iter()
                    .flat_map(|s| &ring[s.offset as usize..][..s.len as usize])
                    .copied()
                    .collect()
            };
            let header = get(cons, HEADER as u32).try_into().unwrap();
            let (frame, total) = Frame::decode(&header, prod.wrapping_sub(cons)).unwrap();
            let Frame::Data {
                len,
                addr: None,
                has_info: false,
            } = frame
            else {
                panic!("{frame:?}");
            };
            got.push(get(cons.wrapping_add(HEADER as u32), len));
            cons = cons.wrapping_add(total);
        }
        prop_assert_eq!(got, sent);
    }
}
