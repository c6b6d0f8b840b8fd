// SPDX-License-Identifier: GPL-2.0

//! The options that are carried: who may do what, and what the errors are.

use std::collections::HashSet;

use proptest::prelude::*;
use xensock_hosttest::proto::{
    errno::{
        EINVAL,
        ENOENT,
        ENOPROTOOPT,
        EPERM, //
    },
    option::{
        self,
        may_get,
        may_set,
        to_get,
        to_set,
        Access,
        Kind,
        SOL_IP,
        SOL_IPV6,
        SOL_SOCKET,
        SOL_TCP,
        SOL_UDP,
        SOL_XS, //
    },
    value::{
        Value,
        MAX_LEN, //
    }, //
};

/// What goes on the wire when a program sets an `int`.
fn set(level: u32, name: u32, number: i32) -> Result<i32, i32> {
    to_set(level, name, &number.to_ne_bytes()).map(|(_, value)| value.to_int().unwrap())
}

/// Bytes of a value.
fn value(bytes: &[u8]) -> Value {
    let mut padded = [0; MAX_LEN];
    padded[..bytes.len()].copy_from_slice(bytes);
    Value::from_padded(&padded, bytes.len() as u32).unwrap()
}

#[test]
fn the_table_has_no_doubles() {
    let mut numbers = HashSet::new();
    let mut names = HashSet::new();

    for (symbol, option) in option::TABLE {
        assert!(numbers.insert((option.level, option.name)), "{symbol}");
        assert!(names.insert(symbol), "{symbol}");
        // A structure would have to be checked field by field.
        let is_number = !matches!(option.kind, Kind::Struct(_));
        let is_read_only = matches!(option.access, Access::Get | Access::Fixed);
        assert!(is_number || is_read_only, "{symbol}");
    }
}

#[test]
fn what_is_not_in_the_table() {
    let int = [1, 0, 0, 0];
    // SO_TYPE, SO_LINGER, SO_MARK, MCAST_MSFILTER, TCP_AO_INFO, a negative level.
    for (level, name) in [
        (SOL_SOCKET, 3),
        (SOL_SOCKET, 13),
        (SOL_SOCKET, 36),
        (SOL_IP, 48),
        (SOL_TCP, 40),
        (SOL_UDP, 105),
        (u32::MAX, 1),
        (SOL_TCP, u32::MAX),
    ] {
        assert_eq!(to_set(level, name, &int).err(), Some(ENOPROTOOPT));
        assert_eq!(to_get(level, name).err(), Some(ENOPROTOOPT));
        assert_eq!(may_set(level, name, &value(&int)).err(), Some(ENOPROTOOPT));
        assert_eq!(may_get(level, name).err(), Some(ENOPROTOOPT));
    }
    // As TCP and UDP: the length is looked at first at these levels.
    assert_eq!(to_set(SOL_TCP, 40, &[1; 3]).err(), Some(EINVAL));
    assert_eq!(to_set(SOL_UDP, 105, &[1; 3]).err(), Some(EINVAL));
    assert_eq!(to_set(SOL_SOCKET, 3, &[]).err(), Some(EINVAL));
    assert_eq!(to_set(SOL_IP, 48, &[]).err(), Some(ENOPROTOOPT));
    assert_eq!(to_set(SOL_IPV6, 48, &[]).err(), Some(ENOPROTOOPT));
}

#[test]
fn the_backend_knows_only_what_is_carried() {
    for (symbol, option) in option::TABLE {
        let (level, name) = (option.level, option.name);
        if option.is_carried() {
            continue;
        }
        assert_eq!(
            may_set(level, name, &Value::int(0)).err(),
            Some(ENOPROTOOPT),
            "{symbol}"
        );
        assert_eq!(may_get(level, name).err(), Some(ENOPROTOOPT), "{symbol}");
    }
}

/// There is nothing of the kind: it cannot be turned on.
#[test]
fn fixed_options_can_be_set_to_what_they_are() {
    use option::*;

    assert_eq!(set(SOL_TCP, TCP_SAVE_SYN, 0), Ok(0));
    assert_eq!(set(SOL_TCP, TCP_SAVE_SYN, 1), Err(ENOPROTOOPT));
    assert!(to_set(SOL_IP, IP_OPTIONS, &[]).is_ok());
    assert_eq!(to_set(SOL_IP, IP_OPTIONS, &[7]).err(), Some(ENOPROTOOPT));
    assert_eq!(set(SOL_IP, IP_TRANSPARENT, 0), Ok(0));
    // As Linux says it to the unprivileged.
    assert_eq!(set(SOL_IP, IP_TRANSPARENT, 1), Err(EPERM));
    assert_eq!(set(SOL_TCP, TCP_REPAIR, 1), Err(EPERM));
    assert_eq!(set(SOL_TCP, TCP_REPAIR, 0), Err(EPERM));
    assert_eq!(set(SOL_IP, IP_HDRINCL, 0), Err(ENOPROTOOPT));
    assert_eq!(set(SOL_IP, 17, 1), Err(EPERM));
    assert_eq!(to_set(SOL_TCP, TCP_REPAIR, &[1]).err(), Some(EINVAL));
    for (symbol, option) in TABLE {
        if option.access == Access::Fixed {
            let unset = option.unset(false);
            assert!(unset.as_bytes().iter().all(|&byte| byte == 0), "{symbol}");
            assert!(option.has_len(unset.as_bytes().len() as u32), "{symbol}");
        }
    }
}

#[test]
fn directions() {
    // TCP_INFO is read, SO_KEEPALIVE is set, TCP_NODELAY is both.
    assert_eq!(set(SOL_TCP, option::TCP_INFO, 1), Err(ENOPROTOOPT));
    assert_eq!(
        may_set(SOL_TCP, option::TCP_INFO, &Value::int(1)).err(),
        Some(ENOPROTOOPT)
    );
    assert!(to_get(SOL_TCP, option::TCP_INFO).is_ok());
    assert_eq!(set(SOL_IP, option::IP_MTU, 1500), Err(ENOPROTOOPT));
    assert!(to_get(SOL_IP, option::IP_MTU).is_ok());
    // The kernel of the guest knows it, whoever has a part in it.
    assert!(to_get(SOL_SOCKET, option::SO_KEEPALIVE).is_err());
    assert_eq!(set(SOL_SOCKET, option::SO_KEEPALIVE, 1), Ok(1));
    assert_eq!(
        may_get(SOL_SOCKET, option::SO_KEEPALIVE).err(),
        Some(ENOPROTOOPT)
    );
    assert_eq!(set(SOL_TCP, option::TCP_NODELAY, 1), Ok(1));
    assert!(to_get(SOL_TCP, option::TCP_NODELAY).is_ok());

    // The level of the protocol is not for programs.
    assert_eq!(to_get(SOL_XS, option::XS_OUTQ).err(), Some(ENOPROTOOPT));
    assert_eq!(set(SOL_XS, option::XS_OUTQ, 1), Err(ENOPROTOOPT));
    assert!(may_get(SOL_XS, option::XS_OUTQ).is_ok());
}

#[test]
fn numbers() {
    use option::*;

    assert_eq!(set(SOL_TCP, TCP_NODELAY, 77), Ok(1));
    assert_eq!(set(SOL_SOCKET, SO_BROADCAST, 77), Ok(1));
    assert_eq!(set(SOL_IP, IP_MULTICAST_LOOP, -1), Ok(1));
    assert_eq!(set(SOL_TCP, TCP_NODELAY, -1), Ok(1));
    assert_eq!(set(SOL_TCP, TCP_QUICKACK, 2), Ok(2));
    // As `__ip_sock_set_tos()`: any number, and the rest is cut off there.
    assert_eq!(set(SOL_IP, IP_TOS, 0x1ff), Ok(0x1ff));

    for (level, name, good, bad) in [
        (SOL_IP, IP_TTL, &[-1, 1, 255][..], &[-2, 0, 256][..]),
        (SOL_IP, IP_MTU_DISCOVER, &[0, 5], &[-1, 6]),
        (SOL_IP, IP_MULTICAST_TTL, &[-1, 0, 255], &[-2, 256]),
        (SOL_IPV6, IPV6_MULTICAST_HOPS, &[-1, 0, 255], &[-2, 256]),
        (SOL_IPV6, IPV6_MULTICAST_LOOP, &[0, 1], &[-1, 2]),
        (SOL_IPV6, IPV6_MTU_DISCOVER, &[0, 5], &[-1, 6]),
        (SOL_TCP, TCP_MAXSEG, &[0, 88, 32767], &[-1, 1, 87, 32768]),
        (SOL_TCP, TCP_KEEPIDLE, &[1, 32767], &[-1, 0, 32768]),
        (SOL_TCP, TCP_KEEPINTVL, &[1, 32767], &[-1, 0, 32768]),
        (SOL_TCP, TCP_KEEPCNT, &[1, 127], &[-1, 0, 128]),
        (SOL_TCP, TCP_USER_TIMEOUT, &[0, i32::MAX], &[-1, i32::MIN]),
        (SOL_TCP, TCP_NOTSENT_LOWAT, &[0, -1, i32::MIN], &[]),
        (SOL_TCP, TCP_DEFER_ACCEPT, &[0, 5, -1], &[]),
        (SOL_SOCKET, SO_PRIORITY, &[0, 6], &[-1, 7]),
        (SOL_TCP, TCP_SYNCNT, &[1, 127], &[0, 128]),
        (SOL_TCP, TCP_LINGER2, &[-1, 0, i32::MAX], &[]),
        (SOL_TCP, TCP_RTO_MAX_MS, &[1000, 120000], &[999, 120001]),
        (SOL_IP, IP_MINTTL, &[0, 255], &[-1, 256]),
        (SOL_IPV6, IPV6_MTU, &[0, 1280, i32::MAX], &[-1, 1, 1279]),
        // Which of these are good only Linux knows.
        (SOL_IP, IP_LOCAL_PORT_RANGE, &[0, -1, i32::MIN], &[]),
        (SOL_TCP, TCP_RTO_MIN_US, &[0, -1, i32::MIN], &[]),
        (SOL_IPV6, IPV6_TCLASS, &[-1, 0, 255], &[-2, 256]),
        (SOL_IPV6, IPV6_UNICAST_HOPS, &[-1, 0, 255], &[-2, 256]),
    ] {
        for &number in good {
            assert_eq!(set(level, name, number), Ok(number), "{level} {name}");
        }
        for &number in bad {
            assert_eq!(set(level, name, number), Err(EINVAL), "{level} {name}");
            let value = Value::int(number);
            assert_eq!(may_set(level, name, &value).err(), Some(EINVAL));
        }
    }
    // On the wire a flag is 0 or 1.
    for number in [-1, 2] {
        let value = Value::int(number);
        assert_eq!(may_set(SOL_TCP, TCP_CORK, &value).err(), Some(EINVAL));
    }
}

#[test]
fn lengths() {
    use option::*;

    let given = |level, name, bytes: &[u8]| {
        to_set(level, name, bytes).map(|(_, value)| value.to_int().unwrap())
    };
    // Too short for an int, except where Linux takes a byte.
    assert_eq!(given(SOL_TCP, TCP_NODELAY, &[1, 0, 0]), Err(EINVAL));
    assert_eq!(given(SOL_SOCKET, SO_REUSEPORT, &[1]), Err(EINVAL));
    assert_eq!(given(SOL_IPV6, IPV6_V6ONLY, &[1, 0]), Err(EINVAL));
    assert_eq!(given(SOL_IP, IP_TOS, &[0x10, 0xff, 0xff]), Ok(0x10));
    assert_eq!(given(SOL_IP, IP_TOS, &[]), Ok(0));
    assert_eq!(given(SOL_IP, IP_TTL, &[64]), Ok(64));
    assert_eq!(given(SOL_IP, IP_TTL, &[]), Err(EINVAL));
    assert_eq!(given(SOL_IP, IP_RECVTTL, &[]), Ok(0));
    assert_eq!(given(SOL_IP, IP_FREEBIND, &[]), Err(EINVAL));
    assert_eq!(given(SOL_IPV6, IPV6_DONTFRAG, &[1]), Ok(0));
    assert_eq!(given(SOL_IPV6, IPV6_RECVTCLASS, &[1]), Err(EINVAL));
    for len in [0, 1, 3, 5, 8] {
        let range = [1u8; 8];
        assert_eq!(given(SOL_IP, IP_LOCAL_PORT_RANGE, &range[..len]), Err(EINVAL));
    }
    // More than an int.
    let long = [&1i32.to_ne_bytes()[..], &[9; 28]].concat();
    assert_eq!(given(SOL_TCP, TCP_CORK, &long), Ok(1));
    // On the wire a number has 4 bytes.
    for len in [0, 1, 3, 5, 8, 32] {
        let value = value(&long[..len]);
        assert_eq!(may_set(SOL_TCP, TCP_CORK, &value).err(), Some(EINVAL));
    }
}

#[test]
fn names() {
    use option::TCP_CONGESTION;

    let set = |bytes: &[u8]| {
        to_set(SOL_TCP, TCP_CONGESTION, bytes).map(|(_, value)| value.as_bytes().to_vec())
    };
    let may = |bytes: &[u8]| may_set(SOL_TCP, TCP_CONGESTION, &value(bytes)).err();
    let reno = b"reno\0\0\0\0\0\0\0\0\0\0\0\0";

    assert_eq!(set(b"reno").unwrap(), reno);
    assert_eq!(set(b"reno\0garbage").unwrap(), reno);
    assert_eq!(may(reno), None);
    // Cut as TCP does.
    assert_eq!(set(b"0123456789abcdefgh").unwrap(), b"0123456789abcde\0");
    assert_eq!(set(b""), Err(EINVAL));
    assert_eq!(set(b"\0"), Err(ENOENT));
    // Nothing else gets into the name of a module.
    for odd in [&b"a b"[..], b"../x", b"a\n", b"\xff", b"a;b"] {
        assert_eq!(set(odd), Err(ENOENT));
    }

    assert_eq!(may(b"reno"), Some(EINVAL));
    assert_eq!(may(b"0123456789abcdef"), Some(EINVAL));
    assert_eq!(may(b"reno\0x\0\0\0\0\0\0\0\0\0\0"), Some(EINVAL));
    assert_eq!(may(&[0; 16]), Some(ENOENT));
    assert_eq!(may(b"a/b\0\0\0\0\0\0\0\0\0\0\0\0\0"), Some(ENOENT));
}

/// The backend does not hear of the interface, and the guest's own UDP does.
#[test]
fn the_interface_of_a_group_is_kept() {
    use option::*;

    let restored = |level, name, given: &[u8]| {
        let (option, value) = to_set(level, name, given).unwrap();
        let interface = Interface::of(level, name, given);
        interface.restore_in(level, option.kept_as(), &value).as_bytes().to_vec()
    };
    let index = 3u32.to_ne_bytes();
    let (own, v4) = ([192, 0, 2, 1], [239, 1, 2, 3]);
    let mreqn = [v4, own, index].concat();
    assert_eq!(restored(SOL_IP, IP_ADD_MEMBERSHIP, &mreqn), mreqn);
    assert_eq!(restored(SOL_IP, IP_ADD_MEMBERSHIP, &mreqn[..8]), [v4, own, [0; 4]].concat());

    let v6 = [0xff, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    let mreq6 = [&v6[..], &index].concat();
    assert_eq!(restored(SOL_IPV6, IPV6_ADD_MEMBERSHIP, &mreq6), mreq6);

    // A struct group_req, with MCAST_JOIN_GROUP.
    let request = |family: u16, rest: &[u8]| {
        let mut given = [&index[..], &[0; 4], &family.to_ne_bytes(), rest].concat();
        given.resize(136, 0);
        given
    };
    let given = request(2, &[&[0; 2][..], &v4].concat());
    assert_eq!(restored(SOL_IP, 42, &given), [v4, [0; 4], index].concat());
    let given = request(10, &[&[0; 6][..], &v6].concat());
    assert_eq!(restored(SOL_IPV6, 42, &given), mreq6);

    // What is no group stays.
    let ttl = restored(SOL_IP, IP_TTL, &[7, 0, 0, 0]);
    assert_eq!(ttl, [7, 0, 0, 0]);
}

#[test]
fn groups() {
    use option::*;

    /// A `struct group_req`, or that of a 32-bit program.
    fn group_req(interface: u32, pad: usize, family: u16, rest: &[u8]) -> Vec<u8> {
        let mut given = interface.to_ne_bytes().to_vec();
        given.resize(4 + pad, 0);
        given.extend(family.to_ne_bytes());
        given.extend([0; 2]);
        given.extend(rest);
        given.resize(132 + pad, 0);
        given
    }
    let converted = |level, name, given: &[u8]| {
        to_set(level, name, given).map(|(option, value)| (option.name, value))
    };
    let (v4, v6) = ([239, 1, 2, 3], [0xff, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    let wire_v4 = value(&[239, 1, 2, 3, 0, 0, 0, 0]);
    let wire_v6 = value(&[&v6[..], &[0; 4]].concat());

    // The interface of IPv4 is left out, be it an address or an index.
    for rest in [&[0; 4][..], &[192, 0, 2, 1], &[192, 0, 2, 1, 3, 0, 0, 0]] {
        let mreq = [&v4[..], rest].concat();
        for name in [IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP] {
            assert_eq!(converted(SOL_IP, name, &mreq), Ok((name, wire_v4)));
        }
    }
    assert_eq!(converted(SOL_IP, IP_ADD_MEMBERSHIP, &[239, 1, 2, 3, 0, 0, 0]), Err(EINVAL));
    assert_eq!(converted(SOL_IP, IP_ADD_MEMBERSHIP, &[192, 0, 2, 1, 0, 0, 0, 0]), Err(EINVAL));
    for pad in [0, 4] {
        let req = group_req(3, pad, 2, &v4);
        assert_eq!(converted(SOL_IP, 42, &req), Ok((IP_ADD_MEMBERSHIP, wire_v4)));
        assert_eq!(converted(SOL_IP, 45, &req), Ok((IP_DROP_MEMBERSHIP, wire_v4)));
        assert_eq!(converted(SOL_IPV6, 42, &req), Err(EINVAL));
        assert_eq!(converted(SOL_IP, 42, &req[..131]), Err(EINVAL));
        let req = group_req(3, pad, 10, &[&[0; 4][..], &v6].concat());
        assert_eq!(converted(SOL_IPV6, 42, &req), Ok((IPV6_ADD_MEMBERSHIP, wire_v6)));
        assert_eq!(converted(SOL_IPV6, 45, &req), Ok((IPV6_DROP_MEMBERSHIP, wire_v6)));
        assert_eq!(converted(SOL_IP, 42, &req), Err(EINVAL));
    }

    // That of IPv6 is the scope of an address of one link, and of no other.
    let mreq = [&v6[..], &[3, 0, 0, 0]].concat();
    assert_eq!(converted(SOL_IPV6, IPV6_ADD_MEMBERSHIP, &mreq), Ok((IPV6_ADD_MEMBERSHIP, wire_v6)));
    assert_eq!(converted(SOL_IPV6, IPV6_ADD_MEMBERSHIP, &mreq[..19]), Err(EINVAL));
    let mut near = mreq.clone();
    near[1] = 2;
    assert_eq!(converted(SOL_IPV6, IPV6_ADD_MEMBERSHIP, &near), Ok((IPV6_ADD_MEMBERSHIP, value(&near))));

    // What a frontend does not say.
    let may = |level, name, bytes: &[u8]| may_set(level, name, &value(bytes)).err();
    assert_eq!(may(SOL_IPV6, IPV6_ADD_MEMBERSHIP, &near), None);
    assert_eq!(may(SOL_IPV6, IPV6_ADD_MEMBERSHIP, &mreq), Some(EINVAL));
    assert_eq!(may(SOL_IPV6, IPV6_ADD_MEMBERSHIP, &near[..16]), Some(EINVAL));
    assert_eq!(may(SOL_IPV6, IPV6_ADD_MEMBERSHIP, &[1; 20]), Some(EINVAL));
    for bytes in [&[239, 1, 2, 3][..], &[239, 1, 2, 3, 0, 0, 0, 1], &[1, 2, 3, 4, 0, 0, 0, 0]] {
        assert_eq!(may(SOL_IP, IP_ADD_MEMBERSHIP, bytes), Some(EINVAL));
        assert_eq!(may(SOL_IP, IP_DROP_MEMBERSHIP, bytes), Some(EINVAL));
    }
    // One is left by its interface, or by none; it is joined on one.
    let of = |name, value: &[u8], joined: &[u8]| {
        let (option, _) = to_set(SOL_IPV6, name, &near).unwrap();
        is_group_of(option, value, joined)
    };
    let at = |scope| [&near[..16], &[scope, 0, 0, 0]].concat();
    assert!(of(IPV6_DROP_MEMBERSHIP, &at(3), &at(3)));
    assert!(of(IPV6_DROP_MEMBERSHIP, &at(0), &at(3)));
    assert!(!of(IPV6_DROP_MEMBERSHIP, &at(2), &at(3)));
    assert!(!of(IPV6_ADD_MEMBERSHIP, &at(0), &at(3)));
    let other = [&v6[..], &[0; 4]].concat();
    assert!(!of(IPV6_DROP_MEMBERSHIP, &other, &at(3)));
    // They are not read.
    for (level, name) in [(SOL_IP, IP_ADD_MEMBERSHIP), (SOL_IPV6, IPV6_DROP_MEMBERSHIP), (SOL_IP, 42)] {
        assert_eq!(to_get(level, name).err(), Some(ENOPROTOOPT));
        assert_eq!(may_get(level, name).err(), Some(ENOPROTOOPT));
    }
}

#[test]
fn what_a_program_reads() {
    use option::*;

    let len =
        |level, name, value: &[u8], room| to_get(level, name).unwrap().program_len(value, room);
    // A structure is not cut to a byte.
    assert_eq!(len(SOL_IP, IP_MULTICAST_IF, &[7, 0, 0, 0], 3), 3);
    let small = 64i32.to_le_bytes();
    let large = 256i32.to_le_bytes();
    for (room, tcp, ip, ip_large) in [(0, 0, 0, 0), (1, 1, 1, 1), (3, 3, 1, 3), (9, 4, 4, 4)] {
        assert_eq!(len(SOL_TCP, TCP_KEEPCNT, &small, room), tcp);
        assert_eq!(len(SOL_IP, IP_TTL, &small, room), ip);
        assert_eq!(len(SOL_IP, IP_TTL, &large, room), ip_large);
    }
    assert_eq!(len(SOL_TCP, TCP_INFO, &[7; 248], 104), 104);
    assert_eq!(len(SOL_TCP, TCP_CONGESTION, &[7; 16], 100), 16);
}

#[test]
fn lengths_of_what_is_read() {
    let has_len = |level, name, len| may_get(level, name).unwrap().has_len(len);

    for len in [0, 3, 5, 8, u32::MAX] {
        assert!(!has_len(SOL_TCP, option::TCP_CORK, len));
        assert!(!has_len(SOL_XS, option::XS_OUTQ, len));
        assert!(!has_len(SOL_TCP, option::TCP_CONGESTION, len));
    }
    assert!(has_len(SOL_TCP, option::TCP_CORK, 4));
    assert!(has_len(SOL_TCP, option::TCP_CONGESTION, 16));
    assert!(has_len(SOL_TCP, option::TCP_INFO, 248));
    assert!(!has_len(SOL_TCP, option::TCP_INFO, 1025));
}

#[test]
fn which_sockets_have_it() {
    for (symbol, option) in option::TABLE {
        assert_eq!(option.needs_ipv6(), symbol.starts_with("IPV6_"));
        let stream = symbol.starts_with("TCP_")
            || symbol.starts_with("XS_")
            || *symbol == "SO_MAX_PACING_RATE";
        assert_eq!(option.needs_stream(), stream);
        let datagrams = symbol.starts_with("UDP_") || symbol.ends_with("_MEMBERSHIP");
        assert_eq!(option.needs_datagrams(), datagrams);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_backend_takes_what_the_frontend_makes(
        (_, option) in proptest::sample::select(option::TABLE.iter().collect::<Vec<_>>()),
        given in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        match to_set(option.level, option.name, &given) {
            Ok((found, value)) => {
                prop_assert_eq!(found, option);
                if option.is_carried() {
                    prop_assert_eq!(may_set(option.level, option.name, &value), Ok(option));
                }
            }
            Err(error) => prop_assert!([EINVAL, ENOENT, ENOPROTOOPT, EPERM].contains(&error)),
        }
    }

    #[test]
    fn any_value_is_taken_or_refused(
        (_, option) in proptest::sample::select(option::TABLE.iter().collect::<Vec<_>>()),
        bytes: [u8; MAX_LEN],
        len in prop_oneof![Just(4u32), Just(16), any::<u32>()],
        small: bool,
    ) {
        let mut bytes = bytes;
        if small {
            bytes[1..].fill(0);
        }
        let Some(value) = Value::from_padded(&bytes, len) else {
            prop_assert!(len > MAX_LEN as u32);
            return Ok(());
        };
        prop_assert_eq!(value.as_bytes(), &bytes[..len as usize]);
        prop_assert!(value.padded()[len as usize..].iter().all(|&b| b == 0));
        // Those of the protocol itself no program sets.
        if option.level != SOL_XS && may_set(option.level, option.name, &value).is_ok() {
            // It is what a frontend would have made of it.
            let (_, same) = to_set(option.level, option.name, value.as_bytes()).unwrap();
            prop_assert_eq!(same, value);
        }
    }
}
