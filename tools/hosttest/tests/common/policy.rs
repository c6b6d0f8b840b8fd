// SPDX-License-Identifier: GPL-2.0

//! Policies of a guest, and addresses that they concern.

use std::net::{
    IpAddr,
    SocketAddr, //
};

use xensock_hosttest::proto::{
    policy::Rules,
    rule::{
        rules,
        IpProtocol,
        Rule, //
    },
};

/// A list as the backend keeps it: `instead` is what a word that cannot be read stands for.
pub(crate) fn list(text: &str, instead: Option<Rule>) -> Vec<Rule> {
    rules(text.as_bytes())
        .filter_map(|rule| rule.ok().or(instead))
        .collect()
}

/// The rules of three nodes.
pub(crate) fn policy(
    is_private: bool,
    bind: Option<&str>,
    allow: Option<&str>,
    deny: &str,
) -> Rules<Vec<Rule>> {
    Rules {
        is_private,
        bind_allow: bind.map(|text| list(text, None)),
        connect_allow: allow.map(|text| list(text, None)),
        connect_deny: list(deny, Some(Rule::ALL)),
        multicast_allow: Vec::new(),
    }
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Addresses of the backend's domain, and one of all hosts of its network.
pub(crate) const OWN: [&str; 4] = [
    "192.0.2.7:80",
    "192.0.2.255:80",
    "[2001:db8::7]:80",
    "[::ffff:192.0.2.7]:80",
];

pub(crate) fn is_own(ip: IpAddr) -> bool {
    OWN.iter().any(|own| addr(own).ip() == ip)
}

pub(crate) fn reaches(policy: &Rules<Vec<Rule>>, transport: IpProtocol, to: &SocketAddr) -> bool {
    policy.may_connect(transport, to, is_own)
}

/// Ways to write a loopback address of IPv4 and of IPv6.
pub(crate) const LOOPBACK: [&str; 7] = [
    "127.0.0.1:80",
    "127.255.255.254:80",
    "0.0.0.0:80",
    "[::1]:80",
    "[::]:80",
    "[::ffff:127.0.0.1]:80",
    "[::ffff:0.0.0.0]:80",
];
