// SPDX-License-Identifier: GPL-2.0

//! Which options make a socket one of the guest's own.

use xensock_hosttest::proto::{
    native::is_needed,
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
fn an_option_counts_on_the_sockets_that_have_it() {
    const SOL_TCP: i32 = 6;
    const TCP_ULP: i32 = 31;
    const SOL_UDP: i32 = 17;
    const UDP_ENCAP: i32 = 100;
    const SOL_IPV6: i32 = 41;
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
