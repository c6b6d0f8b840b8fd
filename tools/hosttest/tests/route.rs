// SPDX-License-Identifier: GPL-2.0

//! Which device an address is reached by: written-out lists, and any others by a model.

use std::net::{
    IpAddr,
    Ipv4Addr, //
};

use proptest::prelude::*;
use xensock_hosttest::proto::rule::{
    route::{
        route,
        DeviceName,
        Route, //
    },
    words, //
};

fn name(text: &str) -> DeviceName {
    text.parse().unwrap()
}

fn list(text: &str) -> Vec<Route> {
    words(text.as_bytes()).map(Result::unwrap).collect()
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

/// By which device, if these are connected.
fn by(routes: &str, ip: Option<IpAddr>, connected: &[&str]) -> Option<DeviceName> {
    route(&list(routes), ip, |device| {
        connected
            .iter()
            .any(|other| name(other) == device)
            .then_some(device)
    })
}

const BOTH: [&str; 2] = ["xensock-0", "pvcalls-1"];

#[test]
fn longest_prefix() {
    let routes = "default=xensock-0 10.0.0.0/8=pvcalls-1 10.1.0.0/16=xensock-0 10.1.2.3=pvcalls-1 \
                  [2001:db8::/32]=pvcalls-1 [2001:db8::7]=xensock-0";
    for (to, device) in [
        ("192.0.2.1", "xensock-0"),
        ("10.0.0.1", "pvcalls-1"),
        ("10.1.0.1", "xensock-0"),
        ("10.1.2.3", "pvcalls-1"),
        ("::ffff:10.0.0.1", "pvcalls-1"),
        ("2001:db8::1", "pvcalls-1"),
        ("2001:db8::7", "xensock-0"),
        ("2001:db9::1", "xensock-0"),
    ] {
        assert_eq!(by(routes, ip(to), &BOTH), Some(name(device)), "{to}");
    }
    assert_eq!(by(routes, None, &BOTH), Some(name("xensock-0")));
}

#[test]
fn default_is_about_the_fewest() {
    let routes = "default=xensock-0 0.0.0.0/0=pvcalls-1";
    assert_eq!(by(routes, ip("192.0.2.1"), &BOTH), Some(name("pvcalls-1")));
    assert_eq!(by(routes, ip("2001:db8::1"), &BOTH), Some(name("xensock-0")));
    assert_eq!(by("0.0.0.0/0=pvcalls-1", None, &BOTH), None);
}

#[test]
fn only_what_is_connected() {
    let routes = "10.0.0.0/8=pvcalls-1 10.0.0.0/8=xensock-2 default=xensock-0";
    let to = ip("10.0.0.1");
    let all = ["xensock-0", "pvcalls-1", "xensock-2"];
    assert_eq!(by(routes, to, &all), Some(name("pvcalls-1")));
    assert_eq!(by(routes, to, &["xensock-0", "xensock-2"]), Some(name("xensock-2")));
    assert_eq!(by(routes, to, &["xensock-0"]), Some(name("xensock-0")));
    assert_eq!(by(routes, to, &["xensock-3"]), None);
    assert_eq!(by("", to, &all), None);
}

#[test]
fn unreadable() {
    for word in [
        "10.0.0.0/8",
        "10.0.0.0/8=",
        "=xensock-0",
        "xensock-0",
        "10.0.0.0/8=1",
        "10.0.0.0/8=xensock",
        "10.0.0.0/8=xensock-",
        "10.0.0.0/8=xensock-01",
        "10.0.0.0/8=xensock-a",
        "10.0.0.0/8=vif-0",
        "10.0.0.0/8=xensock-0=xensock-1",
        "10.0.0.1/8=xensock-0",
        "10.0.0.0/33=xensock-0",
        "10.0.0.0/8:80=xensock-0",
        "tcp:10.0.0.0/8=xensock-0",
        "80=xensock-0",
        "2001:db8::/32=xensock-0",
        "[2001:db8::/32=xensock-0",
        "[2001:db8::/32]:80=xensock-0",
        "[10.0.0.0/8]=xensock-0",
        "Default=xensock-0",
    ] {
        assert!(word.parse::<Route>().is_err(), "{word}");
    }
}

#[test]
fn rank() {
    let mut names = ["xensock-10", "pvcalls-0", "xensock-2", "xensock-0"].map(name);
    names.sort_by_key(|name| name.rank());
    let wanted = ["xensock-0", "pvcalls-0", "xensock-2", "xensock-10"].map(name);
    assert_eq!(names, wanted);
}

proptest! {
    /// A list of prefixes of any lengths, of which those count that some devices are connected for.
    #[test]
    fn model(
        routes in prop::collection::vec((any::<u32>(), 0u32..=32, 0u32..4), 0..8),
        to: u32,
        close in prop::option::of(any::<prop::sample::Index>()),
        connected in prop::collection::vec(any::<bool>(), 4),
    ) {
        let mask = |len: u32| u32::MAX.checked_shl(32 - len).unwrap_or(0);
        let to = match close {
            Some(index) if !routes.is_empty() => index.get(&routes).0 ^ (to & 0xff),
            _ => to,
        };
        let text: Vec<String> = routes
            .iter()
            .map(|(bits, len, device)| {
                let prefix = Ipv4Addr::from(bits & mask(*len));
                format!("{prefix}/{len}=xensock-{device}")
            })
            .collect();
        let mut best: Option<(u32, u32)> = None;
        for (bits, len, device) in &routes {
            let matches = (to ^ bits) & mask(*len) == 0 && connected[*device as usize];
            if matches && best.is_none_or(|(longest, _)| *len > longest) {
                best = Some((*len, *device));
            }
        }
        let names: Vec<String> = (0..4).map(|n| format!("xensock-{n}")).collect();
        let up: Vec<&str> = names
            .iter()
            .zip(&connected)
            .filter(|(_, up)| **up)
            .map(|(name, _)| name.as_str())
            .collect();
        let found = by(&text.join(" "), Some(Ipv4Addr::from(to).into()), &up);
        prop_assert_eq!(found, best.map(|(_, device)| name(&format!("xensock-{device}"))));
    }

    #[test]
    fn garbage(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(words::<Route>(&bytes).count() <= 33);
    }
}
