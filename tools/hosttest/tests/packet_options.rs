// SPDX-License-Identifier: GPL-2.0

//! Options with the control messages of the last packet.

use xensock_hosttest::proto::option::{
    self,
    IPV6_2292PKTINFO,
    IPV6_2292PKTOPTIONS,
    IP_PKTINFO,
    IP_PKTOPTIONS,
    IP_TTL,
    SOL_IP,
    SOL_IPV6, //
};

const IPV6_PKTINFO: u32 = 50;

/// A control message as the kernel lays it out.
fn message(level: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let len = size_of::<usize>() + 8 + data.len();
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend(level.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(len.next_multiple_of(size_of::<usize>()), 0);
    bytes
}

fn hidden(level: u32, name: u32, value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    option::may_get(level, name).unwrap().hide_interfaces(&mut value);
    value
}

#[test]
fn interfaces_of_ipv4_are_hidden() {
    let info = |interface| {
        let data = [interface, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        message(SOL_IP, IP_PKTINFO, &data)
    };
    // A message whose length is no multiple of the alignment comes first.
    let ttl = message(SOL_IP, IP_TTL, &[64, 0, 0, 0]);
    let value = [ttl.clone(), info(7), ttl.clone()].concat();
    assert_eq!(hidden(SOL_IP, IP_PKTOPTIONS, &value), [ttl.clone(), info(0), ttl].concat());
}

#[test]
fn interfaces_of_ipv6_are_hidden_unless_they_are_a_part_of_the_address() {
    for kind in [IPV6_PKTINFO, IPV6_2292PKTINFO] {
        let info = |address: [u8; 2], interface| {
            let mut data = [0; 20];
            data[..2].copy_from_slice(&address);
            data[16] = interface;
            message(SOL_IPV6, kind, &data)
        };
        let value = [info([0x20, 1], 7), info([0xfe, 0x80], 8), info([0xff, 2], 9)].concat();
        let want = [info([0x20, 1], 0), info([0xfe, 0x80], 8), info([0xff, 2], 9)].concat();
        assert_eq!(hidden(SOL_IPV6, IPV6_2292PKTOPTIONS, &value), want);
    }
}

#[test]
fn other_values_stay() {
    let info = message(SOL_IP, IP_PKTINFO, &[7; 12]);
    // Another option, nothing, and what is no message.
    let tcp_info = option::may_get(6, 11).unwrap();
    let mut value = info.clone();
    tcp_info.hide_interfaces(&mut value);
    assert_eq!(value, info);
    for len in 0..16 {
        assert_eq!(hidden(SOL_IP, IP_PKTOPTIONS, &info[..len]), info[..len]);
    }
    for first in [0, 15, usize::MAX] {
        let mut odd = info.clone();
        odd[..size_of::<usize>()].copy_from_slice(&first.to_ne_bytes());
        assert_eq!(hidden(SOL_IP, IP_PKTOPTIONS, &odd), odd, "{first}");
    }
    // Cut off by a program with little room.
    let cut = &info[..size_of::<usize>() + 8 + 4];
    assert_eq!(hidden(SOL_IP, IP_PKTOPTIONS, cut)[size_of::<usize>() + 8..], [0; 4]);
}
