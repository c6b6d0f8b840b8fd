// SPDX-License-Identifier: GPL-2.0

//! What goes with datagrams: on the wire, from programs, to programs, and between backend and Linux.

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
    addr::BadAddr,
    control::{
        info_from_program,
        info_from_linux,
        put_for_linux,
        put_for_program, //
    },
    errno,
    info::{
        BadInfo,
        Info,
        LEN, //
    },
    Dialect, //
};

type Owned = (i32, i32, Vec<u8>);

const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

fn to_v4() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 53))
}

fn to_mapped() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 53))
}

fn to_v6() -> SocketAddr {
    SocketAddr::from((Ipv6Addr::LOCALHOST, 53))
}

fn int(number: i32) -> Vec<u8> {
    number.to_ne_bytes().to_vec()
}

fn pktinfo(local: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    [[0; 4], local.octets(), to.octets()].concat()
}

fn pktinfo6(ip: Ipv6Addr, interface: u32) -> Vec<u8> {
    [&ip.octets()[..], &interface.to_ne_bytes()].concat()
}

/// What a program asks for by some messages.
fn ask(messages: &[Owned], to: SocketAddr) -> Result<Info, i32> {
    info_from_program(messages.iter().map(|(l, k, d)| (*l, *k, &d[..])), &to)
}

/// What a program is told that has set some options.
fn for_program(info: &Info, from: SocketAddr, options: &[(u32, u32)]) -> Vec<Owned> {
    let mut items = Vec::new();
    put_for_program(
        info,
        &from,
        |level, name| options.contains(&(level, name)),
        |(l, k, d)| items.push((l, k, d.to_vec())),
    );
    items
}

#[test]
fn written_out() {
    let info = Info {
        tos: Some(0xb8),
        ttl: Some(9),
        segment: Some(0x0102),
        drops: Some(0x0304_0506),
        local: Some(SocketAddr::from((V4, 0))),
        destination: Some(SocketAddr::from((V4, 53))),
    };
    let mut block = [0; LEN];
    block[..12].copy_from_slice(&[15, 0, 0, 0, 0xb8, 9, 2, 1, 6, 5, 4, 3]);
    block[12] = 16;
    block[16..24].copy_from_slice(&[2, 0, 0, 0, 192, 0, 2, 7]);
    block[44..52].copy_from_slice(&[2, 0, 0, 53, 192, 0, 2, 7]);
    block[72] = 16;
    assert_eq!(info.encode(), block);
    assert_eq!(Info::decode(&block), Ok(info));

    assert_eq!(Info::default().encode(), [0; LEN]);
    assert_eq!(Info::decode(&[0; LEN]), Ok(Info::default()));
    // What no flag says is there, and what is reserved, means nothing.
    block[0] = 0;
    block[76..].fill(0xff);
    let addresses = Info {
        local: info.local,
        destination: info.destination,
        ..Info::default()
    };
    assert_eq!(Info::decode(&block), Ok(addresses));
}

#[test]
fn refusals() {
    let with = |offset: usize, byte| {
        let mut block = [0; LEN];
        block[offset] = byte;
        Info::decode(&block)
    };
    assert_eq!(with(0, 16), Err(BadInfo::Flags));
    assert_eq!(with(3, 128), Err(BadInfo::Flags));
    assert_eq!(with(12, 1), Err(BadInfo::Addr(BadAddr::Length)));
    assert_eq!(with(12, 16), Err(BadInfo::Addr(BadAddr::Family)));
    assert_eq!(with(15, 1), Err(BadInfo::Addr(BadAddr::Length)));
    assert_eq!(with(72, 28), Err(BadInfo::Addr(BadAddr::Family)));
    assert_eq!(with(75, 0x80), Err(BadInfo::Addr(BadAddr::Length)));
}

#[test]
fn asked_over_ipv4() {
    let source = ask(&[(0, 8, pktinfo(V4, Ipv4Addr::BROADCAST))], to_v4()).unwrap();
    assert_eq!(source.local, Some(SocketAddr::from((V4, 0))));
    let source = ask(&[(0, 8, pktinfo(V4, V4))], to_mapped()).unwrap();
    assert_eq!(source.local, Some(SocketAddr::from((V4.to_ipv6_mapped(), 0))));
    let source = ask(&[(41, 50, pktinfo6(V4.to_ipv6_mapped(), 3))], to_mapped()).unwrap();
    assert_eq!(source.local, Some(SocketAddr::from((V4.to_ipv6_mapped(), 0))));
    let none = ask(&[(0, 8, pktinfo(Ipv4Addr::UNSPECIFIED, V4))], to_v4());
    assert_eq!(none, Ok(Info::default()));

    let both = ask(&[(0, 1, vec![0x2e]), (0, 2, int(255))], to_v4()).unwrap();
    assert_eq!((both.tos, both.ttl), (Some(0x2e), Some(255)));
    let last = ask(&[(0, 1, int(1)), (0, 1, int(255))], to_v4()).unwrap();
    assert_eq!(last.tos, Some(255));
    let segment = ask(&[(17, 103, 1200u16.to_ne_bytes().to_vec())], to_v4()).unwrap();
    assert_eq!(segment.segment, Some(1200));
    // Those of other levels mean nothing.
    let others = [(41, 67, int(1)), (41, 999, vec![]), (1, 999, vec![]), (6, 1, vec![])];
    assert_eq!(ask(&others, to_v4()), Ok(Info::default()));

    for bad in [
        (0, 8, pktinfo(V4, V4)[1..].to_vec()),
        (0, 2, int(0)),
        (0, 2, int(-1)),
        (0, 2, int(256)),
        (0, 2, vec![9]),
        (0, 1, int(-1)),
        (0, 1, int(256)),
        (0, 1, vec![1, 2]),
        (0, 52, int(0)),
        (0, 7, vec![]),
        (17, 103, int(1200)),
        (17, 104, int(1)),
    ] {
        assert_eq!(ask(&[bad.clone()], to_v4()), Err(errno::EINVAL), "{bad:?}");
        assert_eq!(ask(&[bad.clone()], to_mapped()), Err(errno::EINVAL), "{bad:?}");
    }
    let not_mapped = (41, 50, pktinfo6(Ipv6Addr::LOCALHOST, 0));
    assert_eq!(ask(&[not_mapped.clone()], to_mapped()), Err(errno::EINVAL));
    assert_eq!(ask(&[not_mapped], to_v4()), Ok(Info::default()));
}

#[test]
fn asked_over_ipv6() {
    let local: Ipv6Addr = "fe80::1".parse().unwrap();
    for kind in [2, 50] {
        let source = ask(&[(41, kind, pktinfo6(Ipv6Addr::LOCALHOST, 7))], to_v6()).unwrap();
        let is_it = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        assert_eq!(source.local, Some(is_it));
        let source = ask(&[(41, kind, pktinfo6(local, 7))], to_v6()).unwrap();
        let is_it = SocketAddr::V6(SocketAddrV6::new(local, 0, 0, 7));
        assert_eq!(source.local, Some(is_it));
    }
    // Without an interface of its own, a source of the link has that of the destination.
    let unscoped = [(41, 50, pktinfo6(local, 0))];
    let link = |ip: &str, scope| SocketAddrV6::new(ip.parse().unwrap(), 53, 0, scope).into();
    for to in [link("fe80::2", 4), link("ff02::1", 4)] {
        let is_it = SocketAddr::V6(SocketAddrV6::new(local, 0, 0, 4));
        assert_eq!(ask(&unscoped, to).unwrap().local, Some(is_it));
    }
    for to in [link("fe80::2", 0), link("2001:db8::1", 4), to_v6()] {
        assert_eq!(ask(&unscoped, to), Err(errno::EINVAL));
    }
    let none = ask(&[(41, 50, pktinfo6(Ipv6Addr::UNSPECIFIED, 7))], to_v6());
    assert_eq!(none, Ok(Info::default()));
    let both = ask(&[(41, 52, int(0)), (41, 67, int(3))], to_v6()).unwrap();
    assert_eq!((both.ttl, both.tos), (Some(0), Some(3)));
    let left = ask(&[(41, 52, int(-1)), (41, 67, int(-1))], to_v6());
    assert_eq!(left, Ok(Info::default()));
    assert_eq!(ask(&[(0, 2, vec![])], to_v6()), Ok(Info::default()));

    for (bad, error) in [
        ((41, 50, pktinfo6(local, 0)), errno::EINVAL),
        ((41, 50, vec![0; 19]), errno::EINVAL),
        ((41, 52, int(256)), errno::EINVAL),
        ((41, 67, vec![1]), errno::EINVAL),
        ((41, 54, vec![0; 8]), errno::EPERM),
        ((41, 999, int(1)), errno::EINVAL),
    ] {
        assert_eq!(ask(&[bad.clone()], to_v6()), Err(error), "{bad:?}");
    }
}

#[test]
fn told_what_was_asked_for() {
    let info = Info {
        tos: Some(1),
        ttl: Some(64),
        segment: Some(1400),
        drops: Some(3),
        local: Some(SocketAddr::from((V4, 0))),
        destination: Some(SocketAddr::from((Ipv4Addr::BROADCAST, 53))),
    };
    let all = [(1, 40), (17, 104), (0, 8), (0, 12), (0, 13), (0, 20), (41, 49), (41, 66)];
    let mut name = vec![2, 0, 0, 53, 255, 255, 255, 255];
    name.resize(16, 0);
    assert_eq!(for_program(&info, to_v4(), &[]), []);
    assert_eq!(for_program(&info, to_v4(), &all[..6]), [
        (1, 40, int(3)),
        (17, 104, int(1400)),
        (0, 8, pktinfo(V4, Ipv4Addr::BROADCAST)),
        (0, 2, int(64)),
        (0, 1, vec![1]),
        (0, 20, name),
    ]);
    // Nothing is said that the frame does not say.
    assert_eq!(for_program(&Info::default(), to_v4(), &all), []);
    let zero = Info { segment: Some(0), ..Info::default() };
    assert_eq!(for_program(&zero, to_v4(), &all), []);

    let scoped = SocketAddrV6::new("fe80::9".parse().unwrap(), 53, 0, 4);
    let info = Info { destination: Some(SocketAddr::V6(scoped)), ..info };
    let all = [(41, 49), (41, 51), (41, 66), (41, 2), (41, 8), (41, 74), (0, 8), (0, 12)];
    let arrival = pktinfo6(*scoped.ip(), 4);
    let name = [&[10, 0, 0, 53, 0, 0, 0, 0][..], &arrival].concat();
    assert_eq!(for_program(&info, to_v6(), &all), [
        (41, 50, arrival.clone()),
        (41, 52, int(64)),
        (41, 67, int(1)),
        (41, 2, arrival),
        (41, 8, int(64)),
        (41, 74, name),
    ]);
}

/// Any that a backend may hear of.
fn info() -> impl Strategy<Value = Info> {
    let addr = || proptest::option::of(address(Dialect::XenSock));
    (any::<[Option<u8>; 2]>(), any::<Option<u16>>(), any::<Option<u32>>(), addr(), addr()).prop_map(
        |([tos, ttl], segment, drops, local, destination)| Info {
            tos,
            ttl,
            segment,
            drops,
            local,
            destination,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn blocks_come_back(info in info()) {
        prop_assert_eq!(Info::decode(&info.encode()), Ok(info));
    }

    #[test]
    fn garbage_is_a_block_or_none(
        mut block: [u8; LEN],
        likely: bool,
        (family, len) in proptest::sample::select(vec![(0u8, 0u8), (2, 16), (10, 28), (9, 28)]),
    ) {
        if likely {
            block[0] &= 15;
            block[1..4].fill(0);
            for (address, length) in [(16, 12), (44, 72)] {
                block[address..address + 2].copy_from_slice(&[family, 0]);
                block[length..length + 4].copy_from_slice(&[len, 0, 0, 0]);
            }
        }
        if let Ok(info) = Info::decode(&block) {
            prop_assert_eq!(Info::decode(&info.encode()), Ok(info));
        }
    }

    #[test]
    fn any_messages_are_understood_or_refused(
        level in proptest::sample::select(vec![0, 1, 17, 41]),
        kind in 0..110i32,
        data in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let message = [(level, kind, data)];
        for to in [to_v4(), to_mapped(), to_v6()] {
            if let Err(error) = ask(&message, to) {
                prop_assert!(error == errno::EINVAL || error == errno::EPERM);
            }
        }
        for is_ipv6 in [false, true] {
            let _ = info_from_linux(message.iter().map(|(l, k, d)| (*l, *k, &d[..])), is_ipv6);
        }
    }

    /// A guest that gives any address a scope does not choose the interface that it is sent by.
    #[test]
    fn no_interface_but_as_a_scope(ip: [u8; 16], scope: u32) {
        let ip = Ipv6Addr::from(ip);
        let is_scoped = ip.is_unicast_link_local()
            || ip.is_multicast() && matches!(ip.octets()[1] & 0xf, 1 | 2);
        let local = Some(SocketAddr::V6(SocketAddrV6::new(ip, 0, 0, scope)));
        let mut interface = None;
        put_for_linux::<()>(&Info { local, ..Info::default() }, true, |(_, _, data)| {
            interface = data.get(16..20).map(|n| u32::from_ne_bytes(n.try_into().unwrap()));
            Ok(())
        })
        .unwrap();
        prop_assert_eq!(interface, Some(if is_scoped { scope } else { 0 }));
    }

    /// What one end asks for, Linux is told; what Linux says, the program is told.
    #[test]
    fn comes_through(tos: u8, ttl in 1..=255u8, segment: u16, ip: [u8; 4], is_ipv6: bool) {
        let ip = Ipv4Addr::from(ip);
        let to = if is_ipv6 { to_mapped() } else { to_v4() };
        let messages = [
            (0, 1, vec![tos]),
            (0, 2, int(ttl.into())),
            (17, 103, segment.to_ne_bytes().to_vec()),
            (0, 8, pktinfo(ip, ip)),
        ];
        let info = ask(&messages, to).unwrap();
        let mut for_linux = Vec::new();
        put_for_linux::<()>(&info, is_ipv6, |(l, k, d)| {
            for_linux.push((l, k, d.to_vec()));
            Ok(())
        })
        .unwrap();
        let again = ask(&for_linux, to).unwrap();
        prop_assert_eq!(again, info);

        let arrival = info_from_linux(messages.iter().map(|(l, k, d)| (*l, *k, &d[..])), is_ipv6);
        let received = for_program(&arrival, to, &[(0, 13), (0, 12), (0, 8)]);
        prop_assert_eq!(received, [
            (0, 8, pktinfo(ip, ip)),
            (0, 2, int(ttl.into())),
            (0, 1, vec![tos]),
        ]);
    }
}
