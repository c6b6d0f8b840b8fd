// SPDX-License-Identifier: GPL-2.0

//! What a policy says: a model of the rules, and garbage.

#[path = "common/policy.rs"]
mod policies;

use std::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr,
    SocketAddr, //
};

use policies::{
    addr,
    policy,
    reaches,
    LOOPBACK,
    OWN, //
};
use proptest::prelude::*;
use xensock_hosttest::proto::{
    policy::{
        netns,
        Limit,
        Reading,
        Rules, //
    },
    rule::{
        rules,
        IpProtocol,
        Rule,
        MAX_RULES, //
    },
};

use IpProtocol::{
    Tcp,
    Udp, //
};

/// A rule, as a test thinks of it.
#[derive(Clone, Debug)]
struct Model {
    transport: Option<IpProtocol>,
    prefix: Option<(IpAddr, u32)>,
    ports: Option<(u16, u16)>,
}

/// The bits of an address, the first one first.
fn bits(ip: IpAddr) -> Vec<bool> {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    octets
        .into_iter()
        .flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 == 1))
        .collect()
}

impl Model {
    fn text(&self) -> String {
        let mut text = match self.transport {
            None => String::new(),
            Some(Tcp) => "tcp:".into(),
            Some(Udp) => "udp:".into(),
        };
        match self.prefix {
            None => (),
            Some((IpAddr::V4(ip), len)) => text += &format!("{ip}/{len}"),
            Some((IpAddr::V6(ip), len)) => text += &format!("[{ip}/{len}]"),
        }
        if self.prefix.is_some() && self.ports.is_some() {
            text += ":";
        }
        match self.ports {
            None => (),
            Some((first, last)) if first == last => text += &first.to_string(),
            Some((first, last)) => text += &format!("{first}-{last}"),
        }
        text
    }

    fn covers(&self, transport: IpProtocol, ip: IpAddr, port: u16) -> bool {
        self.transport.is_none_or(|own| own == transport)
            && self
                .ports
                .is_none_or(|(first, last)| first <= port && port <= last)
            && self.prefix.is_none_or(|(own, len)| {
                own.is_ipv4() == ip.is_ipv4()
                    && bits(own)
                        .iter()
                        .zip(bits(ip))
                        .take(len as usize)
                        .all(|(a, b)| *a == b)
            })
    }
}

/// Addresses that have much in common.
fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (
            prop_oneof![Just(0x0a00_0000u32), Just(0x7f00_0000), any::<u32>()],
            0u32..1024
        )
            .prop_map(|(base, low)| IpAddr::V4(Ipv4Addr::from(base ^ low))),
        (
            prop_oneof![Just(0u128), Just(0x2001_0db8 << 96), any::<u128>()],
            0u128..1024
        )
            .prop_map(|(base, low)| IpAddr::V6(Ipv6Addr::from(base ^ low)).to_canonical()),
    ]
}

fn prefix() -> impl Strategy<Value = (IpAddr, u32)> {
    (ip(), 0u32..=128).prop_map(|(ip, len)| match ip {
        IpAddr::V4(ip) => {
            let len = len % 33;
            let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
            (IpAddr::V4(Ipv4Addr::from(u32::from(ip) & mask)), len)
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
            (IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask)), len)
        }
    })
}

fn transport() -> impl Strategy<Value = IpProtocol> {
    prop_oneof![Just(Tcp), Just(Udp)]
}

fn model() -> impl Strategy<Value = Model> {
    let ports = prop_oneof![(0u16..100, 0u16..100), any::<(u16, u16)>()]
        .prop_map(|(a, b)| (a.min(b), a.max(b)));
    (
        proptest::option::of(transport()),
        proptest::option::of(prefix()),
        proptest::option::of(ports),
    )
        .prop_filter("says nothing", |(_, prefix, ports)| {
            prefix.is_some() || ports.is_some()
        })
        .prop_map(|(transport, prefix, ports)| Model {
            transport,
            prefix,
            ports,
        })
}

fn mapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
        ip => ip,
    }
}

/// Text of the characters that rules are made of.
fn rule_like_text() -> impl Strategy<Value = String> {
    "[tcpud0-9a-f:./\\[\\]\\- ]{0,60}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn rules_do_what_they_say(
        model in model(),
        transport in transport(),
        ip in ip(),
        port in prop_oneof![0u16..100, any::<u16>()],
        inside: bool,
    ) {
        let rule: Rule = model.text().parse().unwrap();
        // Half of the time something in the prefix, lest it were never hit.
        let ip = match model.prefix {
            Some((own, len)) if inside && own.is_ipv4() == ip.is_ipv4() => match (own, ip) {
                (IpAddr::V4(own), IpAddr::V4(ip)) => {
                    let mask = u32::MAX.checked_shr(len).unwrap_or(0);
                    IpAddr::V4(Ipv4Addr::from(u32::from(own) | u32::from(ip) & mask))
                }
                (IpAddr::V6(own), IpAddr::V6(ip)) => {
                    let mask = u128::MAX.checked_shr(len).unwrap_or(0);
                    IpAddr::V6(Ipv6Addr::from(u128::from(own) | u128::from(ip) & mask))
                        .to_canonical()
                }
                _ => ip,
            },
            _ => ip,
        };
        let expected = model.covers(transport, ip, port);

        prop_assert_eq!(rule.covers(transport, ip, port), expected);
        prop_assert_eq!(rule.covers(transport, mapped(ip), port), expected);
    }

    #[test]
    fn mapped_prefixes_are_those_of_ipv4((own, len) in prefix(), ip in ip()) {
        if let IpAddr::V4(own) = own {
            let plain: Rule = format!("{own}/{len}").parse().unwrap();
            let rule: Rule = format!("[{}/{}]", own.to_ipv6_mapped(), len + 96).parse().unwrap();

            prop_assert_eq!(rule, plain);
            prop_assert_eq!(rule.covers(Tcp, ip, 80), plain.covers(Tcp, ip, 80));
        }
    }

    #[test]
    fn garbage_is_never_more_than_it_may_be(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..5000),
            rule_like_text().prop_map(String::into_bytes),
        ],
    ) {
        prop_assert!(rules(&bytes).count() <= MAX_RULES + 1);
        let _ = netns(&bytes);
        for limit in Limit::ALL {
            let (Reading::Right(number) | Reading::Wrong(number)) = limit.read(&bytes);
            prop_assert!((limit.min..=limit.max).contains(&number));
        }
    }

    #[test]
    fn garbage_makes_a_policy_stricter(
        is_private: bool,
        models in proptest::collection::vec(model(), 0..4),
        garbage in rule_like_text(),
        transport in transport(),
        ip in ip(),
        port: u16,
    ) {
        let good = models.iter().map(Model::text).collect::<Vec<_>>().join(" ");
        // What happens to be readable is no garbage.
        let bad: String = garbage
            .split_ascii_whitespace()
            .filter(|word| word.parse::<Rule>().is_err())
            .flat_map(|word| [word, " "])
            .collect();
        let to = SocketAddr::new(ip, port);
        let both = format!("{bad}{good}");

        let clean = policy(is_private, Some(&good), Some(&good), "");
        let changed = policy(is_private, Some(&both), Some(&both), "");
        prop_assert_eq!(reaches(&changed, transport, &to), reaches(&clean, transport, &to));
        for is_any in [false, true] {
            let may = |policy: &Rules<Vec<Rule>>| policy.may_bind(transport, &to, is_any);
            prop_assert_eq!(may(&changed), may(&clean));
        }
        if !bad.is_empty() {
            prop_assert!(!reaches(&policy(is_private, None, None, &both), transport, &to));
        }
    }

    #[test]
    fn the_domain_itself_is_never_hit_by_chance(
        models in proptest::collection::vec(model(), 0..6),
        transport in transport(),
        to in prop_oneof![
            (0..LOOPBACK.len()).prop_map(|index| addr(LOOPBACK[index])),
            (0..OWN.len()).prop_map(|index| addr(OWN[index])),
        ],
        port: u16,
    ) {
        let allow = models.iter().map(Model::text).collect::<Vec<_>>().join(" ");
        let names_it = models.iter().any(|model| {
            model.prefix.is_some_and(|(ip, len)| match ip {
                IpAddr::V4(ip) => ip.is_loopback() && len >= 8 || len == 32,
                IpAddr::V6(_) => len == 128,
            })
        });
        let to = SocketAddr::new(to.ip(), port);

        if !names_it {
            prop_assert!(!reaches(&policy(false, None, Some(&allow), ""), transport, &to));
        }
    }

    #[test]
    fn denied_is_denied(
        models in proptest::collection::vec(model(), 1..6),
        is_private: bool,
        transport in transport(),
        ip in ip(),
        port: u16,
    ) {
        let deny = models.iter().map(Model::text).collect::<Vec<_>>().join(" ");
        let to = SocketAddr::new(ip, port);

        if models.iter().any(|model| model.covers(transport, ip, port)) {
            let all = policy(is_private, None, Some("0-65535 127.0.0.0/8 [::1]"), &deny);
            prop_assert!(!reaches(&all, transport, &to));
            let mapped = SocketAddr::new(mapped(ip), port);
            prop_assert!(!reaches(&all, transport, &mapped));
        }
    }
}
