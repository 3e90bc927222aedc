//! LNK: links and discovery (RFC 6690).

use coap_core::link_format::{Filter, Link, Problem, parse};
use coap_core::{Code, ContentFormat, LinkFormatError, Uri};
use hex_literal::hex;

use crate::rig::{Rig, block, con, encode};

#[test]
fn lnk_01_well_known_core_is_a_link_document_and_may_be_empty() {
    let mut rig = Rig::serving();
    let all = rig.ask(&hex!("41 01 1234 0b bb 2e77656c6c2d6b6e6f776e 04 636f7265"));
    assert_eq!((all.code, all.options.content_format()), (Code::CONTENT, Some(ContentFormat::LINK_FORMAT)));
    assert!(all.payload.starts_with(b"</"), "{all}");
    // ?rt=none
    let none = rig.ask(&hex!("41 01 1235 0b bb 2e77656c6c2d6b6e6f776e 04 636f7265 47 72743d6e6f6e65"));
    assert_eq!((none.code, none.options.content_format()), (Code::CONTENT, Some(ContentFormat::LINK_FORMAT)));
    assert!(none.payload.is_empty(), "{none}");
}

#[test]
fn lnk_05_a_long_list_comes_in_blocks() {
    let mut rig = Rig::serving();
    let (mut text, mut tags) = (Vec::new(), Vec::new());
    for num in 0.. {
        let mut request = con(Code::GET, num as u16, &[".well-known", "core"]);
        request.options.set_block2(block(num, false, 2));
        let reply = rig.ask(&encode(&request));
        text.extend_from_slice(&reply.payload);
        tags.push(reply.options.etag());
        if !reply.options.block2().unwrap().more() {
            break;
        }
    }
    assert!(tags.len() > 5 && tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("</test>") && text.contains("</link3>;rt=\"Type1 Type3\";if=\"foo\""), "{text}");
}

/// The targets among `links` that a request for `/.well-known/core` with this query asks for.
fn selected(links: &str, query: &str) -> Vec<String> {
    let uri = Uri::parse(&format!("coap://h/.well-known/core?{query}")).unwrap();
    let filter = Filter::new(uri.query()).unwrap();
    parse(links).unwrap().iter().filter(|link| filter.matches(link)).map(|link| link.target().to_owned()).collect()
}

#[test]
fn lnk_02_filters_compare_whole_values_or_prefixes_and_lists_value_by_value() {
    let links =
        r#"</a>;rt="Type1 Type2";if="If1";ct="0 41",</b>;rt="Type2";sz=1280;title="All of it",</b/c>;rel="x y""#;
    for (query, targets) in [
        ("rt=Type2", &["/a", "/b"][..]),
        ("rt=Type1", &["/a"]),
        ("rt=Type", &[]),
        ("rt=Type*", &["/a", "/b"]),
        ("rt=Type1%20Type2", &[]),
        ("rt=*", &["/a", "/b"]),
        ("if=If*", &["/a"]),
        ("ct=41", &["/a"]),
        ("ct=4", &[]),
        ("rel=y", &["/b/c"]),
        ("sz=1280", &["/b"]),
        ("sz=12*", &["/b"]),
        ("title=All%20of%20it", &["/b"]),
        ("title=All", &[]),
        ("href=/b", &["/b"]),
        ("href=/b*", &["/b", "/b/c"]),
        ("none=*", &[]),
    ] {
        assert_eq!(selected(links, query), targets, "{query}");
    }
}

#[test]
fn lnk_04_a_filter_is_decoded_before_it_is_compared_and_case_matters() {
    let links = r#"</a>;rt="a&b";title="größe",</b>;rt="A&B""#;
    assert_eq!(selected(links, "rt=a%26b"), ["/a"]);
    assert_eq!(selected(links, "%72t=%41%26%42"), ["/b"]);
    assert_eq!(selected(links, "title=gr%C3%B6%C3%9Fe"), ["/a"]);
    assert_eq!(selected(links, "title=Gr%C3%B6%C3%9Fe").len(), 0);
}

#[test]
fn lnk_06_what_separates_does_so_outside_of_brackets_and_quotation_marks_only() {
    let text = r#"</a,b;c>;title="x,y;<z>, \"größe\" \\",</d>;obs;if=e"#;
    let links = parse(text).unwrap();
    assert_eq!(links.iter().map(Link::target).collect::<Vec<_>>(), ["/a,b;c", "/d"]);
    assert_eq!(links[0].title().as_deref(), Some(r#"x,y;<z>, "größe" \"#));
    assert_eq!((links[1].is_observable(), links[1].attribute("obs").unwrap().value()), (true, None));
    assert_eq!(links[1].interfaces().collect::<Vec<_>>(), ["e"]);
    for (text, offset, what) in [
        ("</a", 0, Problem::UnterminatedTarget),
        (r#"</a>;title="b"#, 11, Problem::UnterminatedString),
        (r#"</a>;title="b\"#, 13, Problem::DanglingEscape),
        ("</a>;=b", 5, Problem::AttributeName),
        ("</a>,", 5, Problem::ExpectedLink),
    ] {
        assert_eq!(parse(text), Err(LinkFormatError { offset, what }), "{text}");
    }
}

#[test]
fn lnk_08_of_attributes_that_count_once_the_first_does() {
    let text = "</a>;rt=x;rt=y;if=p;if=q;sz=1;sz=2;ct=0;ct=41;obs;obs";
    let links = parse(text).unwrap();
    let link = &links[0];
    assert_eq!(link.resource_types().chain(link.interfaces()).collect::<Vec<_>>(), ["x", "p"]);
    assert_eq!((link.size(), link.is_observable()), (Some(1), true));
    assert_eq!(link.content_formats().collect::<Vec<_>>(), [ContentFormat::TEXT_PLAIN]);
    for query in ["rt=y", "if=q", "sz=2", "ct=41"] {
        assert_eq!(selected(text, query).len(), 0, "{query}");
    }
}

#[test]
fn lnk_09_a_size_above_64_bits_is_big() {
    let text = "</a>;sz=18446744073709551615,</b>;sz=99999999999999999999,</c>;sz=1";
    let sizes: Vec<_> = parse(text).unwrap().iter().map(Link::size).collect();
    assert_eq!(sizes, [Some(u64::MAX), Some(u64::MAX), Some(1)]);
    assert_eq!(selected(text, "sz=99999999999999999999"), ["/b"]);
}
