//! `/.well-known/core`: what is listed, and how it is filtered (RFC 6690 §4.1).

use coap_core::link_format::{self, Link};
use coap_core::{ContentFormat, Local, Options};
use coap_driver::router::{Answer, State};

use super::super::select;
use super::{Plugtest, Shared};

/// What is always there.
const LINKS: &str = "\
</.well-known/core>,\
</test>;title=\"Takes every method\",\
</separate>;title=\"Takes a second, and answers separately\",\
</large>;rt=\"block\";sz=1280;title=\"Five blocks of text\",\
</large-separate>;rt=\"block\";sz=1280;title=\"Five blocks of text, a second later\",\
</large-update>;rt=\"block\";sz=1280;title=\"Five blocks of text, to be replaced\",\
</large-create>;rt=\"block\";title=\"Makes a resource of what is posted\",\
</large-post>;rt=\"block\";title=\"Answers with what is posted in upper case\",\
</seg1>;title=\"A path of one segment\",\
</seg1/seg2>;title=\"A path of two segments\",\
</seg1/seg2/seg3>;title=\"A path of three segments\",\
</query>;title=\"Tells the query\",\
</location-query>;title=\"Answers with Location-Query\",\
</multi-format>;ct=\"0 41 50 60\";title=\"Comes in four formats\",\
</validate>;title=\"Has an entity-tag\",\
</link1>;rt=\"Type1 Type2\";if=\"If1\";title=\"For filters\",\
</link2>;rt=\"Type2 Type3\";if=\"If2\";title=\"For filters\",\
</link3>;rt=\"Type1 Type3\";if=\"foo\";title=\"For filters\",\
</path>;ct=40;title=\"Lists the next level\",\
</path/sub1>;title=\"On the next level\",\
</path/sub2>;title=\"On the next level\",\
</path/sub3>;title=\"On the next level\",\
</obs>;obs;rt=\"observe\";title=\"Changes every 5 seconds\",\
</obs-non>;obs;rt=\"observe\";title=\"Changes every 5 seconds; Non-confirmable\",\
</obs-large>;obs;rt=\"observe\";title=\"Changes every 5 seconds; several blocks\",\
</obs-pumping>;obs;rt=\"observe\";title=\"Changes every 5 seconds; one block or several\",\
</obs-pumping-non>;obs;rt=\"observe\";title=\"Changes every 5 seconds; one block or several; Non-confirmable\",\
</obs-reset>;title=\"Forgets all observers\",\
</shutdown>;title=\"Does not obey\"";

/// What is there when somebody has put it.
const CREATED: &str = "</create1>;title=\"Is there when somebody has put it\"";

/// What `/path` says.
const BELOW_PATH: &str = "</path/sub1>,</path/sub2>,</path/sub3>";

pub(super) async fn discover(State(plugtest): Shared, options: Options, asked: Local) -> Answer {
    select(links(&plugtest), &options, asked)
}

pub(super) async fn below_path() -> (ContentFormat, &'static str) {
    (ContentFormat::LINK_FORMAT, BELOW_PATH)
}

/// How many there are.
pub(super) fn count(plugtest: &Plugtest) -> usize {
    links(plugtest).len()
}

fn links(plugtest: &Plugtest) -> Vec<Link<'static>> {
    let created = if plugtest.stored.has("create1") { CREATED } else { "" };
    let links = [LINKS, created].into_iter().flat_map(|document| link_format::links(document).flatten());
    links.map(|link| plugtest.stored.describe(link)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_server_lists_29_resources() {
        assert_eq!(link_format::parse(LINKS).unwrap().len(), 29);
        assert_eq!(link_format::parse(CREATED).unwrap().len(), 1);
        assert_eq!(link_format::parse(BELOW_PATH).unwrap().len(), 3);
    }
}
