// SPDX-License-Identifier: GPL-2.0

//! What a policy says: written-out values. See also `policy_model.rs`.

#[path = "common/policy.rs"]
mod policies;

use policies::{
    addr,
    is_own,
    list,
    policy,
    reaches,
    LOOPBACK,
    OWN, //
};
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
        IpProtocol,
        Rule,
        Unreadable,
        MAX_RULES, //
    },
};

use IpProtocol::{
    Tcp,
    Udp, //
};

/// Whether a guest in the initial namespace reaches an address over TCP if this is allowed.
fn is_allowed(allow: &str, to: &str) -> bool {
    let policy = policy(false, None, Some(allow), "");
    reaches(&policy, Tcp, &addr(to))
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

/// Those of them that Linux takes for neighbours in any case.
const LINK_LOCAL: [&str; 2] = ["[fe80::1]:80", "[febf::1]:80"];

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
        assert!(!policy.may_bind(Tcp, &addr(to), false), "{to}");
    }
    assert!(!policy.may_bind(Tcp, &addr("0.0.0.0:0"), false));
    assert!(!policy.may_bind(Udp, &addr("[::]:0"), false));
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
        let is_guarded = LINK_LOCAL.contains(&to);
        assert_eq!(reaches(&policy, Tcp, &addr(to)), !is_guarded, "{to}");
        assert!(policy.may_bind(Tcp, &addr(to), false), "{to}");
    }
}

/// Each of them may take an entry of the table of neighbours, of which there is one for all.
#[test]
fn neighbours_are_to_be_named_in_a_private_namespace() {
    for allow in ["0.0.0.0/0 [::/0]", "0-65535", "[fe00::/9]"] {
        let policy = policy(true, None, Some(allow), "");
        for to in LINK_LOCAL {
            assert!(!reaches(&policy, Udp, &addr(to)), "{allow} {to}");
        }
    }
    let policy = policy(true, None, Some("[::/0] [fe80::/16]:80"), "");
    assert!(reaches(&policy, Udp, &addr("[fe80::1]:80")));
    assert!(!reaches(&policy, Udp, &addr("[fe80::1]:81")));
    assert!(!reaches(&policy, Udp, &addr("[febf::1]:80")));
    assert!(reaches(&policy, Udp, &addr("[2001:db8::1]:81")));
}

/// Linux refuses to send from an IPv4 address of others, and not always from one of IPv6.
#[test]
fn addresses_of_others_are_to_be_named() {
    let list = "[::/0] 0.0.0.0/0 tcp:[2001:db8::9]:80";
    for (policy, has_list) in [
        (policy(true, None, None, ""), false),
        (policy(true, Some(list), None, ""), true),
        (policy(false, Some(list), None, ""), true),
    ] {
        for (from, may) in [
            ("[2001:db8::7]:80", true),
            ("[2001:db8::7]:0", true),
            ("[::]:80", true),
            ("198.51.100.1:80", true),
            ("[::ffff:198.51.100.1]:80", true),
            ("[2001:db8::8]:80", false),
            ("[2001:db8::9]:80", has_list),
            ("[2001:db8::9]:81", false),
            ("[fe80::1]:80", false),
        ] {
            assert_eq!(
                policy.may_be_from(Tcp, &addr(from), false, is_own),
                may,
                "{from}"
            );
        }
        assert!(!policy.may_be_from(Udp, &addr("[2001:db8::9]:80"), false, is_own));
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
            assert!(!is_allowed(all, to), "{all} {to}");
        }
    }
    assert!(is_allowed("127.0.0.1:80", "127.0.0.1:80"));
    assert!(is_allowed("127.0.0.0/8", "127.1.2.3:80"));
    assert!(is_allowed("127.0.0.1:80", "0.0.0.0:80"));
    assert!(is_allowed("[::ffff:127.0.0.1]:80", "127.0.0.1:80"));
    assert!(is_allowed("127.0.0.1:80", "[::ffff:127.0.0.1]:80"));
    assert!(is_allowed("[::1]", "[::1]:80"));
    assert!(!is_allowed("127.0.0.1:80", "127.0.0.1:81"));
    assert!(!is_allowed("127.0.0.1:80", "[::1]:80"));
    // This may be the one or the other.
    assert!(!is_allowed("[::1]", "[::]:80"));
    assert!(!is_allowed("127.0.0.1", "[::]:80"));
    assert!(is_allowed("[::1] 127.0.0.1", "[::]:80"));
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
            assert!(!is_allowed(all, to), "{all} {to}");
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
        assert!(is_allowed(rule, to), "{rule} {to}");
    }
    assert!(!is_allowed("0.0.0.0/0 192.0.2.7:80", "192.0.2.7:81"));
    assert!(!is_allowed("169.254.0.0/17", "169.254.169.254:80"));
    assert!(!is_allowed("[fe80::/10]", "[ff02::1]:1"));
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

/// What sockets get that connect or send without an address. Not that of a socket that listens.
#[test]
fn an_automatic_port_needs_no_rule() {
    let anywhere = [addr("0.0.0.0:0"), addr("[::]:0"), addr("[::ffff:0.0.0.0]:0")];
    let elsewhere = ["0.0.0.0:1", "[::]:1", "192.0.2.1:0", "127.0.0.1:0", "[2001:db8::1]:0"];
    for (bind, connect) in [(None, None), (Some(""), Some("192.0.2.1")), (Some("tcp:80"), None)] {
        let policy = policy(false, bind, connect, "192.0.2.2");
        for transport in [Tcp, Udp] {
            for to in &anywhere {
                assert!(policy.may_bind_client(transport, to, false), "{to}");
                assert!(!policy.may_bind(transport, to, false), "{to}");
            }
            for to in elsewhere {
                assert!(!policy.may_bind_client(transport, &addr(to), false), "{to}");
            }
        }
    }
    // A guest that reaches nothing gets nothing.
    for (connect, deny) in [(Some(""), ""), (None, "nonsense"), (Some("192.0.2.1"), "nonsense")] {
        let policy = policy(false, None, connect, deny);
        assert!(!policy.may_bind_client(Udp, &anywhere[0], false));
    }
    assert!(policy(true, Some("tcp:0"), Some(""), "").may_bind_client(Tcp, &anywhere[0], false));
}

#[test]
fn binding() {
    let may = |allow: &str, transport, to: &str| {
        policy(false, Some(allow), None, "").may_bind(transport, &addr(to), false)
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
    assert!(!policy(true, Some(""), None, "").may_bind(Tcp, &addr("127.0.0.1:80"), true));
    assert!(!policy(true, Some("nonsense"), None, "").may_bind(Tcp, &addr("127.0.0.1:80"), true));
}

/// A port that the system has chosen is bound again with the next link.
#[test]
fn binding_to_a_port_that_the_system_might_choose() {
    let may = |allow: &str, transport, to: &str| {
        policy(false, Some(allow), None, "").may_bind(transport, &addr(to), true)
    };

    assert!(may("tcp:0", Tcp, "0.0.0.0:40000"));
    assert!(may("tcp:0", Tcp, "[::]:40000"));
    assert!(may("tcp:80 192.0.2.1:0", Tcp, "192.0.2.1:40000"));
    assert!(!may("tcp:80 192.0.2.1:0", Tcp, "192.0.2.2:40000"));
    assert!(!may("tcp:0", Udp, "0.0.0.0:40000"));
    assert!(!may("[::/0]:0", Tcp, "[::]:40000"));
    assert!(!may("tcp:80 tcp:1-39999", Tcp, "0.0.0.0:40000"));
    // Such a port itself still does as well.
    assert!(may("tcp:40000", Tcp, "0.0.0.0:40000"));

    let named = policy(false, Some("[2001:db8::9]:0"), None, "");
    let from = addr("[2001:db8::9]:40000");
    assert!(named.may_be_from(Tcp, &from, true, is_own));
    assert!(!named.may_be_from(Tcp, &from, false, is_own));
}
