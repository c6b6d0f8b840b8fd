// SPDX-License-Identifier: GPL-2.0

//! The options that are carried, in the documentation.

use xensock_hosttest::proto::option::{
    self,
    Access,
    Kind,
    SockOpt, //
};

/// What the text says of a kind of value.
fn kind_text(kind: Kind) -> String {
    match kind {
        Kind::Flag => "flag".into(),
        Kind::Int {
            min: i32::MIN,
            max: i32::MAX,
            ..
        } => "number".into(),
        Kind::Int {
            min,
            max: i32::MAX,
            or,
        } if or == min => format!("number from {min}"),
        Kind::Int { min, max, or } if or == min => format!("number {min} to {max}"),
        Kind::Int { min, max, or } => format!("number {min} to {max}, or {or}"),
        Kind::AnyInt => "number that Linux takes".into(),
        Kind::Name => "name".into(),
        Kind::Struct(max) => format!("structure, at most {max}"),
        Kind::Group => "group".into(),
    }
}

/// The text is normative, so it has the same options.
#[test]
fn the_document_has_the_same_options() {
    let text = include_str!("../../../Documentation/networking/xensock/protocol.rst");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| {
            let columns = line.split("  ").map(str::trim);
            columns.filter(|column| !column.is_empty()).collect()
        })
        .filter(|row: &Vec<&str>| row.len() == 5 && row[1].parse::<u32>().is_ok())
        .filter(|row| row[0].contains('_'))
        .collect();
    let expected: Vec<Vec<String>> = option::TABLE
        .iter()
        .filter_map(|(symbol, option)| {
            let access = match option.access {
                Access::Get => "get",
                Access::Set => "set",
                Access::Both => "both",
                Access::Own | Access::Fixed => return None,
            };
            let SockOpt {
                level, name, kind, ..
            } = option;
            Some(vec![
                symbol.to_string(),
                level.to_string(),
                name.to_string(),
                access.into(),
                kind_text(*kind),
            ])
        })
        .collect();

    assert_eq!(rows, expected);
}
