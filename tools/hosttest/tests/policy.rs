// SPDX-License-Identifier: GPL-2.0

//! What a policy says: written-out values, a model of the rules, and garbage.

use std::net::{
    IpAddr,
    Ipv4Addr,
    Ipv6Addr,
    SocketAddr, //
};

use proptest::prelude::*;
use xensock_hosttest::proto::{
    policy::{
        default_ports,
        is_node,
        local_ports,
        netns,
        Limit,
        Reading,
        Rules,
        NODES, //
    },
    rule::{
        rules,
        Rule,
        IpProtocol,
        Unreadable,
        MAX_RULES, //
    },
};

use IpProtocol::{
    Tcp,
    Udp, //
};

/// A list as the backend keeps it: `instead` is what a word that cannot be read stands for.
fn list(text: &str, instead: Option<Rule>) -> Vec<Rule> {
    rules(text.as_bytes())
        .filter_map(|rule| rule.ok().or(instead))
        .collect()
}

/// The rules of three nodes.
fn policy(
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

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Addresses of the backend's domain, and one of all hosts of its network.
const OWN: [&str; 4] = [
    "192.0.2.7:80",
    "192.0.2.255:80",
    "[2001:db8::7]:80",
    "[::ffff:192.0.2.7]:80",
];

fn is_own(ip: IpAddr) -> bool {
    OWN.iter().any(|own| addr(own).ip() == ip)
}

/// Whether a guest in the initial namespace reaches an address over TCP if this is allowed.
fn may(allow: &str, to: &str) -> bool {
    let policy = policy(false, None, Some(allow), "");
    reaches(&policy, Tcp, &addr(to))
}

fn reaches(policy: &Rules<Vec<Rule>>, transport: IpProtocol, to: &SocketAddr) -> bool {
    policy.may_connect(transport, to, is_own)
}

/// Whether the value of a node is right.
fn is_right(node: &str, value: &[u8]) -> bool {
    let path = format!("policy/{node}");
    if let Some(limit) = Limit::ALL
        .into_iter()
        .find(|limit| limit.node.to_str() == Ok(&path))
    {
        return matches!(limit.read(value), Reading::Right(_));
    }
    match node {
        "netns" => netns(value).is_ok(),
        "local-ports" => local_ports(value).is_ok(),
        "bind-allow" | "connect-allow" | "connect-deny" => rules(value).all(|rule| rule.is_ok()),
        "multicast-allow" => {
            rules(value).all(|rule| rule.is_ok_and(|rule| rule.is_about_groups()))
        }
        _ => panic!("there is no node {node}"),
    }
}

#[test]
fn written_out() {
    let mut count = 0;
    for line in include_str!("policy-values.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut parts = line.splitn(3, ' ');
        let (verdict, node) = (parts.next().unwrap(), parts.next().unwrap());
        let value = parts.next().unwrap_or("");
        assert!(["right", "wrong"].contains(&verdict), "{line}");
        assert_eq!(
            is_right(node, value.as_bytes()),
            verdict == "right",
            "{line}"
        );
        count += 1;
    }
    assert!(count > 100);
}

#[test]
fn groups() {
    let mut policy = policy(true, None, None, "");
    let may = |policy: &Rules<Vec<Rule>>, ip: &str| policy.may_join(ip.parse().unwrap());

    // None, even where everything else is allowed.
    assert!(!may(&policy, "239.1.2.3"));
    policy.multicast_allow = list("239.1.0.0/16 [ff15::/16]", None);
    assert!(may(&policy, "239.1.2.3") && may(&policy, "ff15::7"));
    assert!(!may(&policy, "239.2.2.3") && !may(&policy, "ff02::fb"));
}

#[test]
fn nodes() {
    let paths: Vec<_> = NODES.iter().map(|node| node.to_str().unwrap()).collect();

    for name in ["netns", "bind-allow", "max-sockets", "max-datagram"] {
        assert!(paths.contains(&format!("policy/{name}").as_str()));
        assert!(is_node(&std::ffi::CString::new(name).unwrap()));
    }
    for limit in Limit::ALL {
        assert!(NODES.contains(&limit.node));
    }
    for name in [
        c"",
        c"max",
        c"policy",
        c"policy/netns",
        c"/netns",
        c"max-sockets/",
        c"netns2",
    ] {
        assert!(!is_node(name));
    }
}

#[test]
fn ports_that_are_left_to_the_domain() {
    assert_eq!(local_ports(b"50000-50099"), Ok((50000, 50099)));
    assert_eq!(local_ports(b"50000"), Ok((50000, 50000)));
    assert_eq!(default_ports(32768, 60999), (32768, 53942));
    assert_eq!(default_ports(1, u16::MAX), (1, 49152));
    assert_eq!(default_ports(5, 5), (5, 5));
    // What is no range is no reason to panic.
    assert_eq!(default_ports(9, 5), (9, 5));
}

#[test]
fn limits() {
    for limit in Limit::ALL {
        assert!((limit.min..=limit.max).contains(&limit.default));
        assert_eq!(limit.read(b"junk"), Reading::Wrong(limit.min));
        assert_eq!(limit.read(b""), Reading::Wrong(limit.min));
        assert_eq!(
            limit.read(limit.max.to_string().as_bytes()),
            Reading::Right(limit.max)
        );
        assert_eq!(limit.read(b"4294967295"), Reading::Wrong(limit.max));
        assert_eq!(
            limit.read(b"123456789012345678901234567890"),
            Reading::Wrong(limit.max)
        );
    }
    assert_eq!(Limit::RING_ORDER.read(b"0"), Reading::Wrong(1));
}

#[test]
fn blanks() {
    assert_eq!(list(" \t10.0.0.1  80\n udp:53 ", None).len(), 3);
    assert_eq!(list("", None), []);
    assert_eq!(list("  ", None), []);
    assert_eq!(
        rules(b"80 \xff\xfe 81\x00").filter(|r| r.is_ok()).count(),
        1
    );
}

#[test]
fn too_many() {
    let full = "80 ".repeat(MAX_RULES);
    let more = "81 ".repeat(MAX_RULES + 5000);

    assert!(rules(full.as_bytes()).all(|rule| rule.is_ok()));
    assert_eq!(rules(full.as_bytes()).count(), MAX_RULES);
    assert_eq!(rules(more.as_bytes()).count(), MAX_RULES + 1);
    assert_eq!(rules(more.as_bytes()).last(), Some(Err(Unreadable)));

    // What is left out allows nothing, and denies everything.
    let allow = format!("{full} 443");
    assert!(!reaches(
        &policy(false, None, Some(&allow), ""),
        Tcp,
        &addr("192.0.2.1:443")
    ));
    let deny = format!("{full} 443");
    assert!(!reaches(
        &policy(false, None, None, &deny),
        Tcp,
        &addr("192.0.2.1:22")
    ));
}

/// Ways to write a loopback address of IPv4 and of IPv6.
const LOOPBACK: [&str; 7] = [
    "127.0.0.1:80",
    "127.255.255.254:80",
    "0.0.0.0:80",
    "[::1]:80",
    "[::]:80",
    "[::ffff:127.0.0.1]:80",
    "[::ffff:0.0.0.0]:80",
];

/// Addresses that are special whoever has them.
const SPECIAL: [&str; 8] = [
    "169.254.169.254:80",
    "[::ffff:169.254.0.1]:80",
    "[fe80::1]:80",
    "[febf::1]:80",
    "224.0.0.251:5353",
    "239.255.255.255:80",
    "255.255.255.255:67",
    "[ff02::fb]:5353",
];

#[test]
fn defaults_in_the_initial_namespace() {
    let policy = policy(false, None, None, "");

    for to in LOOPBACK.into_iter().chain(OWN).chain(SPECIAL) {
        assert!(!reaches(&policy, Tcp, &addr(to)), "{to}");
        assert!(!reaches(&policy, Udp, &addr(to)), "{to}");
    }
    for to in [
        "192.0.2.1:80",
        "10.0.0.1:1",
        "169.253.255.255:80",
        "169.255.0.0:80",
        "223.255.255.255:80",
        "[2001:db8::1]:80",
        "[fec0::1]:80",
        "[fe7f::1]:80",
    ] {
        assert!(reaches(&policy, Tcp, &addr(to)), "{to}");
        assert!(!policy.may_bind(Tcp, &addr(to)), "{to}");
    }
    assert!(!policy.may_bind(Tcp, &addr("0.0.0.0:0")));
    assert!(!policy.may_bind(Udp, &addr("[::]:0")));
}

#[test]
fn defaults_in_a_private_namespace() {
    let policy = policy(true, None, None, "");

    for to in LOOPBACK
        .into_iter()
        .chain(OWN)
        .chain(SPECIAL)
        .chain(["192.0.2.1:80", "0.0.0.0:0"])
    {
        assert!(reaches(&policy, Tcp, &addr(to)), "{to}");
        assert!(policy.may_bind(Tcp, &addr(to)), "{to}");
    }
}

#[test]
fn loopback_of_the_backend_is_to_be_named() {
    for all in [
        "0.0.0.0/0",
        "[::/0]",
        "0-65535",
        "80",
        "[::ffff:0.0.0.0/96]",
        "126.0.0.0/7",
    ] {
        for to in LOOPBACK {
            assert!(!may(all, to), "{all} {to}");
        }
    }
    assert!(may("127.0.0.1:80", "127.0.0.1:80"));
    assert!(may("127.0.0.0/8", "127.1.2.3:80"));
    assert!(may("127.0.0.1:80", "0.0.0.0:80"));
    assert!(may("[::ffff:127.0.0.1]:80", "127.0.0.1:80"));
    assert!(may("127.0.0.1:80", "[::ffff:127.0.0.1]:80"));
    assert!(may("[::1]", "[::1]:80"));
    assert!(!may("127.0.0.1:80", "127.0.0.1:81"));
    assert!(!may("127.0.0.1:80", "[::1]:80"));
    // This may be the one or the other.
    assert!(!may("[::1]", "[::]:80"));
    assert!(!may("127.0.0.1", "[::]:80"));
    assert!(may("[::1] 127.0.0.1", "[::]:80"));
}

#[test]
fn what_the_backend_takes_in_is_to_be_named() {
    for all in [
        "0.0.0.0/0",
        "[::/0]",
        "80",
        "0-65535",
        "192.0.2.0/24",
        "192.0.2.6/31",
        "[2001:db8::/32]",
        "169.0.0.0/8",
        "[fe00::/9]",
        "128.0.0.0/1",
    ] {
        for to in OWN.into_iter().chain(SPECIAL) {
            assert!(!may(all, to), "{all} {to}");
        }
    }
    for (rule, to) in [
        ("192.0.2.7", "192.0.2.7:22"),
        ("192.0.2.7:80", "[::ffff:192.0.2.7]:80"),
        ("[::ffff:192.0.2.7]:80", "192.0.2.7:80"),
        ("0.0.0.0/0 192.0.2.7:80", "192.0.2.7:80"),
        ("192.0.2.255", "192.0.2.255:9"),
        ("[2001:db8::7]:80", "[2001:db8::7]:80"),
        ("169.254.0.0/16", "169.254.169.254:80"),
        ("169.254.169.254:80", "169.254.169.254:80"),
        ("[fe80::/10]", "[fe80::1]:1"),
        ("[fe80::/64]", "[fe80::1]:1"),
        ("224.0.0.0/4", "239.1.2.3:1"),
        ("[ff02::/16]", "[ff02::1]:1"),
        ("255.255.255.255", "255.255.255.255:67"),
    ] {
        assert!(may(rule, to), "{rule} {to}");
    }
    assert!(!may("0.0.0.0/0 192.0.2.7:80", "192.0.2.7:81"));
    assert!(!may("169.254.0.0/17", "169.254.169.254:80"));
    assert!(!may("[fe80::/10]", "[ff02::1]:1"));
}

#[test]
fn deny_is_stronger() {
    let policy = policy(
        true,
        None,
        Some("10.0.0.0/8"),
        "10.1.0.0/16 udp:53 127.0.0.0/8",
    );

    assert!(reaches(&policy, Tcp, &addr("10.2.0.1:80")));
    assert!(reaches(&policy, Tcp, &addr("[::ffff:10.2.0.1]:80")));
    assert!(!reaches(&policy, Tcp, &addr("10.1.0.1:80")));
    assert!(!reaches(&policy, Tcp, &addr("[::ffff:10.1.0.1]:80")));
    assert!(!reaches(&policy, Tcp, &addr("11.0.0.1:80")));
    assert!(!reaches(&policy, Udp, &addr("10.2.0.1:53")));
    assert!(reaches(&policy, Tcp, &addr("10.2.0.1:53")));
    for to in ["127.0.0.1:80", "0.0.0.0:80", "[::]:80"] {
        assert!(!reaches(&policy, Tcp, &addr(to)), "{to}");
    }
}

#[test]
fn binding() {
    let may = |allow: &str, transport, to: &str| {
        policy(false, Some(allow), None, "").may_bind(transport, &addr(to))
    };

    assert!(may("tcp:8000-8999", Tcp, "0.0.0.0:8000"));
    assert!(may("tcp:8000-8999", Tcp, "[::]:8999"));
    assert!(!may("tcp:8000-8999", Tcp, "0.0.0.0:7999"));
    assert!(!may("tcp:8000-8999", Tcp, "0.0.0.0:9000"));
    assert!(!may("tcp:8000-8999", Udp, "0.0.0.0:8000"));
    // A port that is to be chosen is port 0, and no other.
    assert!(!may("tcp:1-65535", Tcp, "0.0.0.0:0"));
    assert!(may("tcp:0", Tcp, "0.0.0.0:0"));
    assert!(!may("tcp:0", Tcp, "0.0.0.0:1"));
    // An address does not stand for all of them.
    assert!(may("192.0.2.0/24:80", Tcp, "192.0.2.1:80"));
    assert!(!may("192.0.2.0/24:80", Tcp, "0.0.0.0:80"));
    // The unspecified address of IPv6 takes the port of IPv4 as well.
    assert!(!may("[::/0]:80", Tcp, "[::]:80"));
    assert!(may("[::/0]:80 0.0.0.0:80", Tcp, "[::]:80"));
    assert!(may("[::/0]:80", Tcp, "[::1]:80"));
    // Nothing at all, also in a namespace of its own.
    assert!(!policy(true, Some(""), None, "").may_bind(Tcp, &addr("127.0.0.1:80")));
    assert!(!policy(true, Some("nonsense"), None, "").may_bind(Tcp, &addr("127.0.0.1:80")));
}

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
fn soup() -> impl Strategy<Value = String> {
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
            soup().prop_map(String::into_bytes),
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
        garbage in soup(),
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
        let spoilt = policy(is_private, Some(&both), Some(&both), "");
        prop_assert_eq!(reaches(&spoilt, transport, &to), reaches(&clean, transport, &to));
        prop_assert_eq!(spoilt.may_bind(transport, &to), clean.may_bind(transport, &to));
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
