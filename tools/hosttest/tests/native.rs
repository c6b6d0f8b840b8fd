// SPDX-License-Identifier: GPL-2.0

//! Which options make a socket one of the guest's own.

use xensock_hosttest::proto::{
    errno,
    level::{
        SOL_IP,
        SOL_IPV6,
        SOL_SOCKET,
        SOL_TCP,
        SOL_UDP, //
    },
    native::{
        is_asked_for,
        is_needed, //
    },
    option::{
        self,
        Access, //
    }, //
};

#[test]
fn carried_options_are_none() {
    let is_set = |access| matches!(access, Access::Set | Access::Both | Access::Own);
    for (name, option) in option::TABLE.iter().filter(|(_, o)| is_set(o.access)) {
        for is_stream in [false, true] {
            for is_ipv6 in [false, true] {
                assert!(
                    !is_needed(option.level as i32, option.name as i32, is_stream, is_ipv6),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn to_turn_one_off_is_to_have_none() {
    const SO_MARK: i32 = 36;
    let is_asked_for = |name, number: i32| is_asked_for(SOL_SOCKET, name, &number.to_ne_bytes());
    assert!(is_asked_for(SO_MARK, 1));
    assert!(!is_asked_for(SO_MARK, 0));
    for so_timestamping in [37, 65] {
        // What arrives is seen in the guest; what is sent, or by hardware, is not.
        assert!(is_needed(SOL_SOCKET, so_timestamping, true, false));
        assert!(!is_asked_for(so_timestamping, 1 << 3 | 1 << 4));
        for bit in [0, 1, 2, 6, 8, 9, 18] {
            assert!(is_asked_for(so_timestamping, 1 << 4 | 1 << bit));
        }
    }
}

#[test]
fn a_value_that_is_too_short_is_for_the_guest() {
    assert!(is_asked_for(1, 36, &[]));
    assert!(is_asked_for(1, 37, &[0; 3]));
}

/// Linux has structures whose first field is 0 although they ask for something, and numbers that
/// stand for no end of it.
#[test]
fn structures_are_off_if_all_of_them_is_zero() {
    // (level, name, length): IP_XFRM_POLICY, IP_MULTICAST_IF, IP_ADD_SOURCE_MEMBERSHIP,
    // MCAST_JOIN_SOURCE_GROUP, SO_ATTACH_FILTER, TCP_MD5SIG, IPV6_HOPOPTS.
    let structures = [
        (SOL_IP, 17, 136),
        (SOL_IP, 32, 12),
        (SOL_IP, 39, 12),
        (SOL_IP, 46, 136),
        (SOL_SOCKET, 26, 16),
        (SOL_TCP, 14, 136),
        (SOL_IPV6, 54, 8),
        (SOL_IPV6, 46, 136),
    ];
    for (level, name, len) in structures {
        let mut value = vec![0; len];
        assert!(!is_asked_for(level, name, &value), "{level} {name}");
        assert!(!is_asked_for(level, name, &[]), "{level} {name}");
        value[len - 1] = 1;
        assert!(is_asked_for(level, name, &value), "{level} {name}");
    }
    const SO_BINDTODEVICE: i32 = 25;
    assert!(is_asked_for(SOL_SOCKET, SO_BINDTODEVICE, b"l"));
    assert!(!is_asked_for(SOL_SOCKET, SO_BINDTODEVICE, b""));
    assert!(!is_asked_for(SOL_SOCKET, SO_BINDTODEVICE, b"\0lo"));
    // SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_EBPF, SO_TXTIME.
    for name in [50, 52, 61] {
        assert!(is_asked_for(SOL_SOCKET, name, &[0; 8]));
    }
}

#[test]
fn of_the_layers_above_tcp_only_tls_can_be_missed() {
    const TCP_ULP: i32 = 31;
    for tls in [&b"tls"[..], b"tls\0", b"tls\0\0\xff"] {
        assert!(!is_asked_for(SOL_TCP, TCP_ULP, tls));
        let error = option::to_set(SOL_TCP as u32, TCP_ULP as u32, tls);
        assert_eq!(error, Err(errno::ENOENT), "as in a kernel without the module");
    }
    for other in [&b"smc"[..], b"tl", b"tlss", b"\0tls", b"TLS"] {
        assert!(is_asked_for(SOL_TCP, TCP_ULP, other));
    }
    assert!(!is_asked_for(SOL_TCP, TCP_ULP, b""));
    assert_eq!(option::to_set(SOL_TCP as u32, TCP_ULP as u32, b""), Err(errno::EINVAL));
}

#[test]
fn an_option_counts_on_the_sockets_that_have_it() {
    const TCP_ULP: i32 = 31;
    const UDP_ENCAP: i32 = 100;
    const IPV6_HOPOPTS: i32 = 54;

    assert!(is_needed(SOL_TCP, TCP_ULP, true, false));
    assert!(!is_needed(SOL_TCP, TCP_ULP, false, false));
    assert!(is_needed(SOL_UDP, UDP_ENCAP, false, true));
    assert!(!is_needed(SOL_UDP, UDP_ENCAP, true, true));
    assert!(is_needed(SOL_IPV6, IPV6_HOPOPTS, true, true));
    assert!(!is_needed(SOL_IPV6, IPV6_HOPOPTS, true, false));
    assert!(!is_needed(999, TCP_ULP, true, true));
    assert!(!is_needed(SOL_TCP, -1, true, true));
}
