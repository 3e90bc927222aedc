//! Every bad flag, URI, option, block size, token and file ends in one line that names the part and the rule, before anything is
//! sent.

use std::ffi::OsStr;
use std::net::UdpSocket;
use std::process::Stdio;

use crate::harness::{Folder, command};

/// Runs what is before the arrow of each line, where `''` is an empty argument. Behind it are the exit code and all that is said.
/// All of it in a folder with the file `plain.txt`, the long file `big.bin` and the folder `adir`.
#[track_caller]
fn refused(rows: &str) {
    let folder = Folder::new();
    folder.write("plain.txt", "text");
    folder.write("big.bin", [7; 70_000]);
    std::fs::create_dir(folder.path("adir")).unwrap();
    let mut wrong = Vec::new();
    for row in rows.trim().lines() {
        let (line, outcome) = row.split_once(" -> ").unwrap();
        let args: Vec<_> = line.split(' ').map(|arg| if arg == "''" { "" } else { arg }).collect();
        let ran = command(&args).current_dir(&folder.0).stdin(Stdio::null()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        let code = ran.status.code().unwrap();
        let said = err.strip_prefix("coap: ").and_then(|line| line.strip_suffix('\n'));
        let happened = format!("{code} {}", said.unwrap_or(&err));
        if happened != outcome || !out.is_empty() {
            wrong.push(format!("{row}\n  but {happened:?} {out}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(folder.names(""), ["adir", "big.bin", "plain.txt"], "something was written");
}

#[test]
fn what_the_grammar_does_not_know() {
    refused(
        r#"
gte h -> 2 there is no sub-command 'gte'; see coap --help
help -> 2 there is no sub-command 'help'; see coap --help
--nonsense h -> 2 request has no flag --nonsense: did you mean --non?; see coap request --help
get -> 2 get needs <URI>; see coap get --help
request -m put -> 2 request needs <URI>; see coap request --help
observe -> 2 observe needs <URI>; see coap observe --help
ping -> 2 ping needs <URI>; see coap ping --help
discover -> 2 discover needs <URI>; see coap discover --help
check -> 2 check needs <URI>; see coap check --help
get h two -> 2 'two' is one argument too many for get; see coap get --help
get --nonsense h -> 2 get has no flag --nonsense: did you mean --non?; see coap get --help
get -Z h -> 2 get has no flag -Z; see coap get --help
get h -b -> 2 --block needs a value: [NUM,]SIZE; see coap get --help
put -e h -> 2 put needs <URI>; see coap put --help
demo x -> 2 'x' is one argument too many for demo; see coap demo --help
demo --json -> 2 demo has no flag --json; see coap demo --help
observe -o x h -> 2 observe has no flag -o; see coap observe --help
observe -T 0x01 h -> 2 observe has no flag -T; see coap observe --help
ping -N h -> 2 ping has no flag -N; see coap ping --help
check -B 1 h -> 2 check has no flag -B; see coap check --help
serve x -> 2 'x' is one argument too many for serve; see coap serve --help
decode --nonsense -> 2 decode has no flag --nonsense; see coap decode --help
uri --nonsense -> 2 uri has no flag --nonsense; see coap uri --help
get -v x h -> 2 'h' is one argument too many for get; see coap get --help
"#,
    );
}

#[test]
fn what_excludes_or_needs_something_else() {
    refused(
        r#"
put -e a -f plain.txt h -> 2 --payload-file and --payload do not go together; see coap put --help
put -e a --payload-hex 00 h -> 2 --payload-hex and --payload do not go together; see coap put --help
put -f plain.txt --payload-hex 00 h -> 2 --payload-hex and --payload-file do not go together; see coap put --help
get -o x --json h -> 2 --json and --output do not go together; see coap get --help
get -w --json h -> 2 --json and --newline do not go together; see coap get --help
get --resume n h -> 2 --resume needs --output: only what goes into a file can be gone on with; see coap get --help
get -o x --resume n -w h -> 2 --newline and --resume do not go together; see coap get --help
get -o x --resume n -b 2,64 h -> 2 --resume goes on with all of a content: leave NUM out of --block; see coap get --help
get -q -v h -> 2 --verbose and --quiet do not go together; see coap get --help
ping -q -v h -> 2 --verbose and --quiet do not go together; see coap ping --help
observe --json --exec cat h -> 2 --exec and --json do not go together; see coap observe --help
discover --multicast 224.0.1.187 h -> 2 URI and --multicast do not go together; see coap discover --help
serve --write -> 2 --write needs --files: there is no folder to write in; see coap serve --help
serve --plugtest --write -> 2 --write needs --files: there is no folder to write in; see coap serve --help
serve --plugtest --files . -> 2 --files and --plugtest do not go together; see coap serve --help
serve --with create2 -> 2 --with needs --plugtest: it names resources of the plugtests; see coap serve --help
serve --bind 127.0.0.1:1 --port 2 -> 2 --port 2 is for nothing: --bind names ports already
"#,
    );
}

#[test]
fn values_of_the_flags_of_requests() {
    refused(
        r#"
request -m '' h -> 2 bad --method '': not a method: get, put, post, delete, fetch, patch, ipatch, or a code from 0.01 to 0.31; see coap request --help
request -m eat h -> 2 bad --method 'eat': not a method: get, put, post, delete, fetch, patch, ipatch, or a code from 0.01 to 0.31; see coap request --help
request -m 0.00 h -> 2 bad --method '0.00': not a method: get, put, post, delete, fetch, patch, ipatch, or a code from 0.01 to 0.31; see coap request --help
request -m 2.05 h -> 2 bad --method '2.05': not a method: get, put, post, delete, fetch, patch, ipatch, or a code from 0.01 to 0.31; see coap request --help
request -m 0.32 h -> 2 bad --method '0.32': not a method: get, put, post, delete, fetch, patch, ipatch, or a code from 0.01 to 0.31; see coap request --help
get -t '' h -> 2 bad --content-format '': neither a content-format number (0 to 65535) nor a known media type; see coap get --help
get -t -1 h -> 2 bad --content-format '-1': neither a content-format number (0 to 65535) nor a known media type; see coap get --help
get -t 65536 h -> 2 bad --content-format '65536': neither a content-format number (0 to 65535) nor a known media type; see coap get --help
get -t nonsense h -> 2 bad --content-format 'nonsense': neither a content-format number (0 to 65535) nor a known media type; see coap get --help
get -A 65536 h -> 2 bad --accept '65536': neither a content-format number (0 to 65535) nor a known media type; see coap get --help
get -A text/nothing h -> 2 bad --accept 'text/nothing': neither a content-format number (0 to 65535) nor a known media type; see coap get --help
get -b '' h -> 2 bad --block '': the size of a block is 16, 32, 64, 128, 256, 512 or 1024, or 0: the server chooses; see coap get --help
get -b -1 h -> 2 bad --block '-1': the size of a block is 16, 32, 64, 128, 256, 512 or 1024, or 0: the server chooses; see coap get --help
get -b 8 h -> 2 bad --block '8': the size of a block is 16, 32, 64, 128, 256, 512 or 1024, or 0: the server chooses; see coap get --help
get -b 100 h -> 2 bad --block '100': the size of a block is 16, 32, 64, 128, 256, 512 or 1024, or 0: the server chooses; see coap get --help
get -b 2048 h -> 2 bad --block '2048': the size of a block is 16, 32, 64, 128, 256, 512 or 1024, or 0: the server chooses; see coap get --help
get -b 1, h -> 2 bad --block '1,': the size of a block is 16, 32, 64, 128, 256, 512 or 1024, or 0: the server chooses; see coap get --help
get -b 1,0 h -> 2 bad --block '1,0': the size of a block is 16, 32, 64, 128, 256, 512 or 1024, or 0: the server chooses; see coap get --help
get -b 1048576,16 h -> 2 bad --block '1048576,16': a block has a number from 0 to 1048575; see coap get --help
get -T 0x0 h -> 2 bad --token '0x0': not pairs of hexadecimal digits; see coap get --help
get -T 0xzz h -> 2 bad --token '0xzz': not pairs of hexadecimal digits; see coap get --help
get -T 0x010203040506070809 h -> 2 bad --token '0x010203040506070809': it has 9 bytes: a token has 8 at most; see coap get --help
get -T 123456789 h -> 2 bad --token '123456789': it has 9 bytes: a token has 8 at most; see coap get --help
get -B '' h -> 2 bad --timeout '': not a number of seconds above 0, such as 2 or 0.5; see coap get --help
get -B 0 h -> 2 bad --timeout '0': not a number of seconds above 0, such as 2 or 0.5; see coap get --help
get -B -1 h -> 2 bad --timeout '-1': not a number of seconds above 0, such as 2 or 0.5; see coap get --help
get -B x h -> 2 bad --timeout 'x': not a number of seconds above 0, such as 2 or 0.5; see coap get --help
get -B nan h -> 2 bad --timeout 'nan': not a number of seconds above 0, such as 2 or 0.5; see coap get --help
get -B inf h -> 2 bad --timeout 'inf': not a number of seconds above 0, such as 2 or 0.5; see coap get --help
get -B 1e400 h -> 2 bad --timeout '1e400': not a number of seconds above 0, such as 2 or 0.5; see coap get --help
get --ack-timeout 0 h -> 2 bad --ack-timeout '0': not a number of seconds above 0, such as 2 or 0.5; see coap get --help
get --ack-timeout 0.0001 h -> 2 bad --ack-timeout '0.0001': not a number of seconds from 0.001 to 86400; see coap get --help
get --ack-timeout 86401 h -> 2 bad --ack-timeout '86401': not a number of seconds from 0.001 to 86400; see coap get --help
get --ack-timeout x h -> 2 bad --ack-timeout 'x': not a number of seconds above 0, such as 2 or 0.5; see coap get --help
get --max-retransmit -1 h -> 2 bad --max-retransmit '-1': not a whole number from 0 to 20; see coap get --help
get --max-retransmit 21 h -> 2 bad --max-retransmit '21': not a whole number from 0 to 20; see coap get --help
get --max-retransmit 1.5 h -> 2 bad --max-retransmit '1.5': not a whole number from 0 to 20; see coap get --help
get --max-retransmit x h -> 2 bad --max-retransmit 'x': not a whole number from 0 to 20; see coap get --help
get --random-factor -1 h -> 2 bad --random-factor '-1': not a number from 1.0 to 100.0; see coap get --help
get --random-factor 0.5 h -> 2 bad --random-factor '0.5': not a number from 1.0 to 100.0; see coap get --help
get --random-factor 101 h -> 2 bad --random-factor '101': not a number from 1.0 to 100.0; see coap get --help
get --random-factor nan h -> 2 bad --random-factor 'nan': not a number from 1.0 to 100.0; see coap get --help
get --random-factor x h -> 2 bad --random-factor 'x': not a number from 1.0 to 100.0; see coap get --help
get --hops -1 h -> 2 bad --hops '-1': not a whole number from 0 to 255; see coap get --help
get --hops 256 h -> 2 bad --hops '256': not a whole number from 0 to 255; see coap get --help
get --hops x h -> 2 bad --hops 'x': not a whole number from 0 to 255; see coap get --help
get -H 0 h -> 2 bad --hop-limit '0': not a whole number from 1 to 255; see coap get --help
get -H -1 h -> 2 bad --hop-limit '-1': not a whole number from 1 to 255; see coap get --help
get --hop-limit x h -> 2 bad --hop-limit 'x': not a whole number from 1 to 255; see coap get --help
get --verbose=12 h -> 2 bad --verbose '12': not a whole number from 0 to 9; see coap get --help
put --payload-hex 0 h -> 2 bad --payload-hex '0': not pairs of hexadecimal digits; see coap put --help
put --payload-hex zz h -> 2 bad --payload-hex 'zz': not pairs of hexadecimal digits; see coap put --help
"#,
    );
}

#[test]
fn options_by_name_and_by_number() {
    refused(
        r#"
get -O '' h -> 2 bad --option '': neither an option number (0 to 65535) nor the name of a known option; see coap get --help
get -O Nonsense=1 h -> 2 bad --option 'Nonsense=1': neither an option number (0 to 65535) nor the name of a known option; see coap get --help
get -O 65536=1 h -> 2 bad --option '65536=1': neither an option number (0 to 65535) nor the name of a known option; see coap get --help
get -O Max-Age=soon h -> 2 bad --option 'Max-Age=soon': the value of Max-Age is a number from 0 to 4294967295, or bytes as 0x…; see coap get --help
get -O Max-Age=4294967296 h -> 2 bad --option 'Max-Age=4294967296': the value of Max-Age is a number from 0 to 4294967295, or bytes as 0x…; see coap get --help
get -O Size1=-1 h -> 2 bad --option 'Size1=-1': the value of Size1 is a number from 0 to 4294967295, or bytes as 0x…; see coap get --help
get -O Uri-Port=65536 h -> 2 bad --option 'Uri-Port=65536': the value of Uri-Port is a number from 0 to 65535, or bytes as 0x…; see coap get --help
get -O Hop-Limit=256 h -> 2 bad --option 'Hop-Limit=256': the value of Hop-Limit is a number from 0 to 255, or bytes as 0x…; see coap get --help
get -O Block1=16777216 h -> 2 bad --option 'Block1=16777216': the value of Block1 is a number from 0 to 16777215, or bytes as 0x…; see coap get --help
get -O Accept=soon h -> 2 bad --option 'Accept=soon': neither a content-format number (0 to 65535) nor a known media type; see coap get --help
get -O Content-Format=70000 h -> 2 bad --option 'Content-Format=70000': the value of Content-Format is a number from 0 to 65535, or bytes as 0x…; see coap get --help
get -O 4=0x1 h -> 2 bad --option '4=0x1': 0x is not followed by pairs of hexadecimal digits; see coap get --help
get -O 14,0xzz h -> 2 bad --option '14,0xzz': 0x is not followed by pairs of hexadecimal digits; see coap get --help
get -O ETag= h -> 2 bad option: a value of ETag has 1 to 8 bytes, not 0
get -O ETag=0x010203040506070809 h -> 2 bad option: a value of ETag has 1 to 8 bytes, not 9
get -O If-Match=123456789 h -> 2 bad option: a value of If-Match has 0 to 8 bytes, not 9
get -O If-None-Match=x h -> 2 bad option: a value of If-None-Match has 0 bytes, not 1
get -O Uri-Host= h -> 2 bad option: a value of Uri-Host has 1 to 255 bytes, not 0
get -O Proxy-Scheme= h -> 2 bad option: a value of Proxy-Scheme has 1 to 255 bytes, not 0
get -O Echo= h -> 2 bad option: a value of Echo has 1 to 40 bytes, not 0
get -O 14,0x0102030405 h -> 2 bad option: a value of Max-Age has 0 to 4 bytes, not 5
get -O Block2=0x00000000 h -> 2 bad option: a value of Block2 has 0 to 3 bytes, not 4
get -O Hop-Limit=0x0102 h -> 2 bad option: a value of Hop-Limit has 1 byte, not 2
get -O 2050=0xabc h -> 2 bad --option '2050=0xabc': 0x is not followed by pairs of hexadecimal digits; see coap get --help
observe -O Observe=1 h -> 2 bad option: Observe is what observe sends by itself: leave it out
observe -O 6=0 h -> 2 bad option: Observe is what observe sends by itself: leave it out
"#,
    );
}

#[test]
fn files_that_cannot_be_read_or_written() {
    refused(
        r#"
put -f missing h -> 2 cannot read payload file missing: no such file or directory
put -f adir h -> 2 cannot read payload file adir: is a directory
put -e @missing h -> 2 cannot read payload file missing: no such file or directory
put -e @adir h -> 2 cannot read payload file adir: is a directory
put -e @ h -> 2 bad --payload '@': a file follows the @, or - for standard input
put -f '' h -> 2 --payload-file needs a value: FILE; see coap put --help
get -o adir h -> 1 cannot write adir: it is a folder; nothing was sent
get -o missing/x h -> 1 cannot write missing/x: there is no folder missing; nothing was sent
get -o '' h -> 2 --output needs a value: FILE; see coap get --help
get -o x --resume x h -> 2 x is where the content goes: name another file with --resume
get -o x --resume x.part h -> 2 x.part is where the content goes: name another file with --resume
get -o - --resume n h -> 2 - is no file that part of a download could be kept in: leave out --resume
get -o x --resume adir h -> 2 cannot read adir: is a directory
get -o x --resume plain.txt h -> 2 plain.txt is not the note of a download: name another file with --resume
get -o x --resume missing/n h -> 1 cannot write missing/n: there is no folder missing; nothing was sent
put -o x --resume n -e a h -> 2 --resume goes on with what get or fetch receives, and with nothing else
put -b 2,64 h -> 2 --block NUM,SIZE asks for one block, as only get and fetch can
observe -m fetch -f big.bin h -> 2 the payload is too long: of a request to observe it has 65536 bytes at most
observe -e x h -> 2 get has no payload: observe with -m fetch
observe --exec '' h -> 2 --exec needs a value: CMD; see coap observe --help
observe -b 2,64 h -> 2 --block NUM,SIZE asks for one block, and whole states are observed: leave NUM out
serve --port 0 --files missing -> 2 cannot serve the folder missing: no such file or directory
serve --port 0 --files plain.txt -> 2 cannot serve the folder plain.txt: not a directory
serve --files '' -> 2 --files needs a value: DIR; see coap serve --help
"#,
    );
}

#[test]
fn uris_with_each_fault() {
    refused(
        r#"
get '' -> 2 bad URI: it is empty
get coap: -> 2 bad URI: the host in `coap:` is missing: // and a host must follow the scheme
get coap:/x -> 2 bad URI: the host in `coap:/x` is missing: // and a host must follow the scheme
get coap:// -> 2 bad URI: the host in `coap://` is missing
get coap://:5683/ -> 2 bad URI: the host in `coap://:5683/` is missing
get /path -> 2 bad URI: the host in `/path` is missing
get http://h/ -> 2 bad URI: the scheme in `http://h/` is neither coap nor coaps
get coap+tcp://h/ -> 2 bad URI: the scheme in `coap+tcp://h/` is neither coap nor coaps
get coaps://h/ -> 8 coaps:// needs a key (-u IDENTITY -k KEY) or authorities to trust (-R FILE); nothing was sent, and never is in the clear
get coap://h:65536/ -> 2 bad URI: the port in `coap://h:65536/` is over 65535
get coap://h:x/ -> 2 bad URI: the port in `coap://h:x/` is not a decimal number
get h:99999 -> 2 bad URI: the port in `h:99999` is over 65535
get coap://u@h/ -> 2 bad URI: the user name in `coap://u@h/` must go: a CoAP URI has none
get coap://[::1/ -> 2 bad URI: the host in `coap://[::1/` begins with [ but does not end with ]
get [::1 -> 2 bad URI: the host in `[::1` begins with [ but does not end with ]
get coap://[::1]x/ -> 2 bad URI: the host in `coap://[::1]x/` goes on after the ], where only a port or a path can follow
get coap://[::g]/ -> 2 bad URI: the host in `coap://[::g]/` stands in brackets but is not an IPv6 address
get coap://[v1.x]/ -> 2 bad URI: the host in `coap://[v1.x]/` stands in brackets but is not an IPv6 address
get coap://[fe80::1%25]/ -> 2 bad URI: the zone in `coap://[fe80::1%25]/` is missing after the %
get coap://[fe80::1%25nowhere]/ -> 7 no interface "nowhere" on this machine: check the zone after the % in the address
get coap://%ff/ -> 2 bad URI: the host in `coap://%ff/` is not UTF-8
get coap://h/%ff -> 2 bad URI: the path in `coap://h/%ff` is not UTF-8
get coap://h/?%ff -> 2 bad URI: the query in `coap://h/?%ff` is not UTF-8
get coap://h/#f -> 2 bad URI: the fragment in `coap://h/#f` must go: a request cannot carry it
get coap://127.0.0.1:0/ -> 2 request not sent: port 0 cannot be sent to
ping http://h -> 2 bad URI: the scheme in `http://h` is neither coap nor coaps
discover http://h -> 2 bad URI: the scheme in `http://h` is neither coap nor coaps
check http://h -> 2 bad URI: the scheme in `http://h` is neither coap nor coaps
"#,
    );
}

#[test]
fn groups_and_what_is_for_them_alone() {
    refused(
        r#"
get --interface nowhere 224.0.1.187 -> 7 no interface "nowhere" on this machine: check --interface
get --interface lo 127.0.0.1 -> 2 --interface is for groups, and 127.0.0.1 is none
get --hops 2 [::1] -> 2 --hops is for groups, and ::1 is none
discover --hops 2 127.0.0.1 -> 2 --hops is for groups, and 127.0.0.1 is none
discover --interface nowhere --multicast -> 7 no interface "nowhere" on this machine: check --interface
discover --multicast 10.0.0.1 -> 2 10.0.0.1:5683 is no group: name a multicast address, such as 224.0.1.187 or [ff02::fd%25eth0], and no proxy
discover --multicast '' -> 2 bad URI: it is empty
discover --multicast [ff02::fd%nowhere] -> 7 no interface "nowhere" on this machine: check the zone after the % in the address
get -o x 224.0.1.187 -> 2 --output is for one response, and a group may send many
put -f plain.txt 224.0.1.187 -> 2 --payload-file is sent in blocks, and a group takes one datagram: use --payload
observe 224.0.1.187 -> 2 a group cannot be observed: observe each of its members
observe --hops 2 127.0.0.1 -> 2 --hops is for groups, and 127.0.0.1 is none
ping 224.0.1.187 -> 2 a group cannot be pinged: ping each of its members
check [ff02::fd] -> 2 a group cannot be checked: check each of its members
check h/below/here -> 2 a server is checked as a whole: name it without a path or a query
check coap://h?x=1 -> 2 a server is checked as a whole: name it without a path or a query
"#,
    );
}

#[test]
fn values_of_the_flags_of_other_sub_commands() {
    refused(
        r#"
observe -m put h -> 2 bad --method 'put': only get and fetch can observe; see coap observe --help
observe -s 0 h -> 2 bad --seconds '0': not a number of seconds above 0, such as 2 or 0.5; see coap observe --help
observe -s -1 h -> 2 bad --seconds '-1': not a number of seconds above 0, such as 2 or 0.5; see coap observe --help
observe -s x h -> 2 bad --seconds 'x': not a number of seconds above 0, such as 2 or 0.5; see coap observe --help
observe --count 0 h -> 2 bad --count '0': not a whole number from 1 on; see coap observe --help
observe --count -1 h -> 2 bad --count '-1': not a whole number from 1 on; see coap observe --help
observe --reregister -1 h -> 2 bad --reregister '-1': not a whole number from 0 to 255; see coap observe --help
observe --count x h -> 2 bad --count 'x': not a whole number from 1 on; see coap observe --help
ping -B 0 h -> 2 bad --timeout '0': not a number of seconds above 0, such as 2 or 0.5; see coap ping --help
ping --max-retransmit 21 h -> 2 bad --max-retransmit '21': not a whole number from 0 to 20; see coap ping --help
ping --random-factor 0 h -> 2 bad --random-factor '0': not a number from 1.0 to 100.0; see coap ping --help
discover -B x h -> 2 bad --timeout 'x': not a number of seconds above 0, such as 2 or 0.5; see coap discover --help
discover --ack-timeout 0 h -> 2 bad --ack-timeout '0': not a number of seconds above 0, such as 2 or 0.5; see coap discover --help
check -t '' h -> 2 there is no test '': there are CORE_01 to CORE_23 and CORE_31, LINK_01 to LINK_09, BLOCK_01 to BLOCK_06, OBS_01, OBS_02 and OBS_04 to OBS_14, and the groups CORE, LINK, BLOCK and OBS
check -t CORE_99 h -> 2 there is no test 'CORE_99': there are CORE_01 to CORE_23 and CORE_31, LINK_01 to LINK_09, BLOCK_01 to BLOCK_06, OBS_01, OBS_02 and OBS_04 to OBS_14, and the groups CORE, LINK, BLOCK and OBS
check -t CORE_01, h -> 2 there is no test '': there are CORE_01 to CORE_23 and CORE_31, LINK_01 to LINK_09, BLOCK_01 to BLOCK_06, OBS_01, OBS_02 and OBS_04 to OBS_14, and the groups CORE, LINK, BLOCK and OBS
"#,
    );
}

#[test]
fn values_of_the_flags_of_the_server() {
    refused(
        r#"
serve --bind '' -> 2 bad --bind '': not ADDR:PORT with a port from 0 to 65535, such as [::]:5683, 127.0.0.1:0 or localhost:5683; see coap serve --help
serve --bind nowhere -> 2 bad --bind 'nowhere': not ADDR:PORT with a port from 0 to 65535, such as [::]:5683, 127.0.0.1:0 or localhost:5683; see coap serve --help
serve --bind 127.0.0.1:x -> 2 bad --bind '127.0.0.1:x': not ADDR:PORT with a port from 0 to 65535, such as [::]:5683, 127.0.0.1:0 or localhost:5683; see coap serve --help
serve --bind 127.0.0.1:65536 -> 2 bad --bind '127.0.0.1:65536': not ADDR:PORT with a port from 0 to 65535, such as [::]:5683, 127.0.0.1:0 or localhost:5683; see coap serve --help
serve --bind [::1 -> 2 bad --bind '[::1': not ADDR:PORT with a port from 0 to 65535, such as [::]:5683, 127.0.0.1:0 or localhost:5683; see coap serve --help
serve --bind :5683 -> 2 bad --bind ':5683': not ADDR:PORT with a port from 0 to 65535, such as [::]:5683, 127.0.0.1:0 or localhost:5683; see coap serve --help
serve --port -1 -> 2 bad --port '-1': not a whole number from 0 to 65535; see coap serve --help
serve --port 65536 -> 2 bad --port '65536': not a whole number from 0 to 65535; see coap serve --help
serve --port x -> 2 bad --port 'x': not a whole number from 0 to 65535; see coap serve --help
serve --port 0 --join '' -> 2 bad --join '': not a group: a multicast address such as 224.0.1.187, or ff02::fd%eth0 on one interface; see coap serve --help
serve --port 0 --join 10.0.0.1 -> 2 bad --join '10.0.0.1': not a group: a multicast address such as 224.0.1.187, or ff02::fd%eth0 on one interface; see coap serve --help
serve --port 0 --join ff02::fd% -> 2 bad --join 'ff02::fd%': not a group: a multicast address such as 224.0.1.187, or ff02::fd%eth0 on one interface; see coap serve --help
serve --port 0 --join [ff02::fd -> 2 bad --join '[ff02::fd': not a group: a multicast address such as 224.0.1.187, or ff02::fd%eth0 on one interface; see coap serve --help
serve --port 0 --join ff02::fd%nowhere -> 7 no interface "nowhere" on this machine: check the zone after the % in the address
serve --bind 127.0.0.1:0 --join ff02::fd -> 7 cannot join ff02::fd: no socket hears it: bind one to [::] or 0.0.0.0, or to the group; check that the address is a multicast address, and that the interface has multicast
serve --limit-unproven some -> 2 bad --limit-unproven 'some': it is one of all, groups and off; see coap serve --help
serve --plugtest --with create1 -> 2 bad --with 'create1': not one of /create2, /create3, /link4, /secure; see coap serve --help
"#,
    );
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;

    let ran = command(&["get"]).arg(OsStr::from_bytes(b"coap://h/\xff")).output().unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "coap: an argument is not UTF-8; see coap get --help\n");
}

#[test]
fn keys_and_certificates_of_clients() {
    refused(
        r#"
get -u a coaps://h -> 2 -u names an identity, and there is no key: add -k KEY or set COAP_PSK_KEY
get -k b coaps://h -> 2 -k is a key, and there is no identity: add -u IDENTITY or set COAP_PSK_IDENTITY
get -u a -k 0x coaps://h -> 2 -u -k: a pre-shared key has 1 to 512 bytes, not 0
get -u a -k 0x1 coaps://h -> 2 a key that begins with 0x is pairs of hexadecimal digits
get -u a -k 0xzz coaps://h -> 2 a key that begins with 0x is pairs of hexadecimal digits
get -u a -k @missing coaps://h -> 2 cannot read missing: no such file or directory
get -u a -k @adir coaps://h -> 2 cannot read adir: is a directory
get -u a -k @big.bin coaps://h -> 2 -u -k: a pre-shared key has 1 to 512 bytes, not 70000
get -u a -k b -n coaps://h -> 2 a session is secured by a key (-u -k) or by certificates (-c -j -C -R -n), not by both
get -u a -k b -R plain.txt coaps://h -> 2 a session is secured by a key (-u -k) or by certificates (-c -j -C -R -n), not by both
get -u a -k b h -> 2 keys and certificates are for coaps://, and coap:// is sent in the clear: write coaps://h for a secure session
ping -n h -> 2 keys and certificates are for coaps://, and coap:// is sent in the clear: write coaps://h for a secure session
observe -R plain.txt h -> 2 keys and certificates are for coaps://, and coap:// is sent in the clear: write coaps://h for a secure session
get -c plain.txt coaps://h -> 2 -c shows our certificate, and nothing says which servers to trust: add -R FILE with their authority
get -j plain.txt coaps://h -> 2 -j is the key of a certificate, and there is none: add -c FILE; see coap get --help
get -R missing coaps://h -> 2 cannot read missing: no such file or directory
get -R adir coaps://h -> 2 cannot read adir: is a directory
get -R plain.txt coaps://h -> 2 plain.txt: there is no certificate in it
get -n -c missing coaps://h -> 2 cannot read missing: no such file or directory
get -n -c plain.txt coaps://h -> 2 plain.txt: there is no certificate in it
get -n -R plain.txt coaps://h -> 2 --roots and --insecure do not go together; see coap get --help
get -u a -k b --dtls openssl coaps://h -> 2 bad --dtls 'openssl': not dimpl or webrtc-dtls; see coap get --help
get -u a -k b --suite TLS_NULL coaps://h -> 2 bad --suite 'TLS_NULL': none of those that coap tls-info lists; see coap get --help
get -u a -k b --suite TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 coaps://h -> 2 none of the cipher suites is for DTLS 1.2 with pre-shared keys: add one of TLS_PSK_WITH_AES_128_CCM_8, TLS_PSK_WITH_AES_128_CCM, TLS_PSK_WITH_AES_128_GCM_SHA256
get -u a -k b --dtls dimpl --suite TLS_PSK_WITH_AES_128_GCM_SHA256 coaps://h -> 2 dimpl does not have TLS_PSK_WITH_AES_128_GCM_SHA256: use --dtls webrtc-dtls, or see coap tls-info for what it lacks
serve --suite TLS_PSK_WITH_AES_128_CCM_8 -> 2 keys and certificates are for secure listeners, and there is none: add --coaps ADDR:PORT; see coap serve --help
get -u a -k b --dtls dimpl --keylog x coaps://h -> 2 dimpl does not have a key log: use --dtls webrtc-dtls, or see coap tls-info for what it lacks
get -u a -k b --keylog adir coaps://h -> 2 cannot open adir: is a directory
"#,
    );
}

#[test]
fn keys_and_certificates_of_servers() {
    refused(
        r#"
serve --coaps nowhere -> 2 bad --coaps 'nowhere': not ADDR:PORT, such as [::]:5684, 127.0.0.1:0 or localhost:5684; see coap serve --help
serve --coaps 127.0.0.1:70000 -> 2 bad --coaps '127.0.0.1:70000': not ADDR:PORT, such as [::]:5684, 127.0.0.1:0 or localhost:5684; see coap serve --help
serve --coaps 127.0.0.1:0 -> 2 --coaps needs credentials: --psk IDENTITY:KEY, --psk-file FILE, or --cert FILE --key FILE
serve --coaps 127.0.0.1:0,psk -> 2 bad --coaps '127.0.0.1:0,…': psk has no value; see coap serve --help
serve --coaps 127.0.0.1:0,psk=a:b,nonsense=1 -> 2 bad --coaps '127.0.0.1:0,…': 'nonsense' is none of psk, psk-file, hint, cert, key, ca, require-client-cert (write a key with a comma in 0xHEX); see coap serve --help
serve --coaps 127.0.0.1:0,psk=a -> 2 the pre-shared key number 1 is not IDENTITY:KEY
serve --coaps 127.0.0.1:0,psk=a:b,psk=a:c -> 2 the pre-shared key number 2: the identity 'a' has two keys
serve --coaps 127.0.0.1:0,psk=a:0x1 -> 2 a key that begins with 0x is pairs of hexadecimal digits
serve --coaps 127.0.0.1:0,cert=missing -> 2 cannot read missing: no such file or directory
serve --coaps 127.0.0.1:0,cert=plain.txt,key=plain.txt -> 2 plain.txt: there is no certificate in it
serve --coaps 127.0.0.1:0,psk=a:b,ca=plain.txt -> 2 key, ca and require-client-cert go with a certificate of the server (cert), and there is none
serve --coaps 127.0.0.1:0 --psk a -> 2 the pre-shared key number 1 is not IDENTITY:KEY
serve --coaps 127.0.0.1:0 --psk-file missing -> 2 cannot read missing: no such file or directory
serve --coaps 127.0.0.1:0 --psk-file plain.txt -> 2 line 1 of plain.txt is not IDENTITY:KEY
serve --coaps 127.0.0.1:0 --key plain.txt -> 2 --key is the key of a certificate, and there is none: add --cert FILE; see coap serve --help
serve --coaps 127.0.0.1:0 --psk a:b --require-client-cert -> 2 key, ca and require-client-cert go with a certificate of the server (cert), and there is none
serve --psk a:b -> 2 keys and certificates are for secure listeners, and there is none: add --coaps ADDR:PORT; see coap serve --help
serve --cert plain.txt -> 2 keys and certificates are for secure listeners, and there is none: add --coaps ADDR:PORT; see coap serve --help
serve --keylog x -> 2 keys and certificates are for secure listeners, and there is none: add --coaps ADDR:PORT; see coap serve --help
"#,
    );
}

#[test]
fn what_is_made_for_trying_out() {
    refused(
        r#"
keygen plain.txt -> 1 cannot make the folder plain.txt: file exists
keygen --days 0 k -> 2 bad --days '0': not a whole number from 1 to 36500; see coap keygen --help
keygen --days x k -> 2 bad --days 'x': not a whole number from 1 to 36500; see coap keygen --help
keygen --name ünï k -> 2 the names of the server: the name is not a name of DNS (one that is not ASCII is written `xn--…`)
tls-info x -> 2 'x' is one argument too many for tls-info; see coap tls-info --help
tls-info --nonsense -> 2 tls-info has no flag --nonsense; see coap tls-info --help
demo --insecure -> 2 demo has no flag --insecure: did you mean --secure?; see coap demo --help
"#,
    );
}

#[test]
fn a_port_in_use_is_said_with_the_flag_that_names_another() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let said = "address already in use; stop the program that has the port, or choose another with";
    let own = format!("{addr},psk=a:b");
    refused(&format!(
        "serve --bind {addr} -> 7 cannot listen on {addr}: {said} --bind ADDR:PORT
serve --bind 127.0.0.1:0 --coaps {addr} --psk a:b -> 7 cannot listen on {addr}: {said} --coaps ADDR:PORT
serve --bind 127.0.0.1:0 --coaps {own} -> 7 cannot listen on {addr}: {said} --coaps ADDR:PORT
serve --bind {addr} --coaps 127.0.0.1:0 --psk a:b -> 7 cannot listen on {addr}: {said} --bind ADDR:PORT"
    ));
}
