// SPDX-License-Identifier: GPL-2.0

//! What the network says of datagrams: on the wire, and as Linux says it.

mod common;

use std::net::{
    Ipv4Addr,
    Ipv6Addr,
    SocketAddr,
    SocketAddrV6, //
};

use common::address;
use proptest::prelude::*;
use xensock_hosttest::proto::{
    control::report_from_linux,
    errno,
    info::LEN,
    level::{
        SOL_IP,
        SOL_IPV6, //
    },
    report::{
        BadReport,
        Origin,
        Report, //
    },
    Dialect, //
};

const REFUSED: Report = Report {
    errno: errno::ECONNREFUSED,
    origin: Origin::Icmp,
    kind: 3,
    code: 4,
    info: 0x0102_0304,
    data: 5,
    offender: None,
};

fn block(fields: &[(usize, &[u8])]) -> [u8; LEN] {
    let mut block = [0; LEN];
    for (offset, bytes) in fields {
        block[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    block
}

#[test]
fn written_out() {
    let offender = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let report = Report {
        offender,
        ..REFUSED
    };
    let bytes = block(&[
        (0, &[111]),
        (4, &[2, 3, 4]),
        (8, &[4, 3, 2, 1, 5]),
        (16, &[2, 0, 0, 0, 127, 0, 0, 1]),
        (44, &[16]),
    ]);
    assert_eq!(report.encode(), bytes);
    assert_eq!(Report::decode(&bytes), Ok(report));
}

#[test]
fn refusals() {
    for origin in [0, 4, 5, 255] {
        assert_eq!(Report::decode(&block(&[(4, &[origin])])), Err(BadReport));
    }
    let no_addr = block(&[(4, &[2]), (16, &[1]), (44, &[16])]);
    assert_eq!(Report::decode(&no_addr), Err(BadReport));
    let short = block(&[(4, &[2]), (16, &[2]), (44, &[15])]);
    assert_eq!(Report::decode(&short), Err(BadReport));
    // An error is never none, nor one to try again.
    for number in [0u32, 11, 4000, 111u32.wrapping_neg()] {
        let bytes = block(&[(0, &number.to_le_bytes()), (4, &[1])]);
        assert_eq!(Report::decode(&bytes).unwrap().errno, errno::EIO, "{number}");
    }
}

/// A `struct sock_extended_err`, with an address behind it.
fn extended_err(origin: u8, offender: &[u8]) -> Vec<u8> {
    let numbers = [&111u32.to_ne_bytes()[..], &[origin, 3, 4, 0]];
    let info = [0x0102_0304u32.to_ne_bytes(), 5u32.to_ne_bytes()];
    [&numbers.concat(), &info.concat(), offender].concat()
}

#[test]
fn as_linux_says_it() {
    const IP_RECVERR: i32 = 11;
    const IPV6_RECVERR: i32 = 25;

    let v4 = [&2u16.to_ne_bytes()[..], &[0, 0, 192, 0, 2, 7], &[0; 8]].concat();
    let message = extended_err(2, &v4);
    let report = report_from_linux((SOL_IP, IP_RECVERR, &message), false).unwrap();
    let offender = Some(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 0)));
    assert_eq!(report, Report { offender, ..REFUSED });
    assert_eq!(report_from_linux((SOL_IP, IP_RECVERR, &message), true), None);
    assert_eq!(report_from_linux((SOL_IP, 12, &message), false), None);

    let ip = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let v6 = [
        &10u16.to_ne_bytes()[..],
        &[0; 6],
        &ip.octets(),
        &7u32.to_ne_bytes(),
    ]
    .concat();
    let report = report_from_linux((SOL_IPV6, IPV6_RECVERR, &extended_err(3, &v6)), true).unwrap();
    assert_eq!(report.origin, Origin::Icmp6);
    let offender = SocketAddr::V6(SocketAddrV6::new(ip, 0, 0, 7));
    assert_eq!(report.offender, Some(offender));

    // Nobody has said it, or somebody whose address is cut off.
    for offender in [&[][..], &[0; 16], &v4[..7]] {
        let report = report_from_linux((SOL_IP, IP_RECVERR, &extended_err(1, offender)), false).unwrap();
        assert_eq!((report.origin, report.offender), (Origin::Local, None));
    }
    // What was sent without being copied, and no error at all.
    assert_eq!(report_from_linux((SOL_IP, IP_RECVERR, &extended_err(5, &v4)), false), None);
    assert_eq!(report_from_linux((SOL_IP, IP_RECVERR, &message[..15]), false), None);
}

proptest! {
    #[test]
    fn blocks_come_back(
        offender in proptest::option::of(address(Dialect::XenSock)),
        numbers in any::<(u8, u8, u32, u32)>(),
    ) {
        let (kind, code, info, data) = numbers;
        let report = Report { kind, code, info, data, offender, ..REFUSED };
        prop_assert_eq!(Report::decode(&report.encode()), Ok(report));
    }

    #[test]
    fn garbage_is_read_or_refused(
        block in any::<[u8; LEN]>(),
        origin in 0..5u8,
        (family, len) in proptest::sample::select(vec![(0u8, 0u8), (2, 16), (10, 28), (9, 28), (2, 15)]),
    ) {
        let mut block = block;
        block[4] = origin;
        block[16..18].copy_from_slice(&[family, 0]);
        block[44..48].copy_from_slice(&[len, 0, 0, 0]);
        if let Ok(report) = Report::decode(&block) {
            prop_assert!(errno::is_known(report.errno));
            prop_assert_eq!(Report::decode(&report.encode()), Ok(report));
        }
    }
}

/// As `icmp_err_convert` and `icmpv6_err_convert()` have them, and what UDP makes of other messages.
#[test]
fn numbers_of_the_network() {
    let of_network: Vec<_> = errno::TABLE
        .iter()
        .filter(|(_, number)| errno::is_of_network(*number))
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(
        of_network,
        [
            "EACCES",
            "ENONET",
            "EPROTO",
            "EMSGSIZE",
            "ENOPROTOOPT",
            "EOPNOTSUPP",
            "ENETUNREACH",
            "ECONNREFUSED",
            "EHOSTDOWN",
            "EHOSTUNREACH",
        ]
    );
    // Another attempt may end otherwise although no earlier datagram was concerned.
    for number in [errno::EAGAIN, errno::ENOBUFS, errno::ENOMEM, errno::EPERM] {
        assert!(!errno::is_of_network(number));
    }
}
