//! OBS: registrations and notifications (RFC 7641).

use coap_core::{Code, Message, Type};

use super::{Checked, Exchange, Finding, exchanges, faulty, hold, present};
use crate::transcript::{Direction, Line, Transcript};

/// A response behind the first one to a registration.
struct Notification<'a> {
    at: usize,
    message: &'a Message,
}

pub(super) fn check(transcript: &Transcript) -> Checked {
    let (test, lines) = (transcript.test.as_str(), &transcript.lines);
    let all = exchanges(lines);
    let registrations: Vec<_> = all.iter().filter(|exchange| registers(exchange)).collect();
    let first = registrations.first().ok_or(Finding::Incomplete("no registration"))?;
    let (_, answer) = check_registration(first, "a registration is answered")?;
    let notifications = notifications(lines, first);

    check_notifications(test, &registrations, &notifications, answer)?;
    match test {
        "OBS_01" => check_acknowledged(lines, &notifications),
        "OBS_04" => check_again(&registrations),
        "OBS_05" => {
            let last = notifications.iter().rfind(|notification| notification.message.kind == Type::Confirmable);
            let last = last.ok_or(Finding::Incomplete("no notification"))?;
            present(acknowledged(lines, last).is_none(), "all notifications were acknowledged")
        }
        "OBS_06" => check_reset(lines, &notifications),
        "OBS_07" => check_end(&notifications, |code| code == Code::NOT_FOUND),
        // RFC 7641 §4.2: 4.06 should be said, and any error ends it.
        "OBS_08" => check_end(&notifications, Code::is_error),
        "OBS_09" => check_change(&all, &notifications, answer),
        "OBS_12" => check_deregistration(&all, &notifications),
        _ => Ok(()),
    }
}

fn registers(exchange: &Exchange<'_>) -> bool {
    let observed = exchange.path().starts_with("/obs");
    observed && exchange.request.code == Code::GET && exchange.request.options.observe() == Some(0)
}

fn check_registration<'a>(exchange: &Exchange<'a>, rule: &'static str) -> Result<(usize, &'a Message), Finding> {
    let (at, response) = exchange.response.ok_or_else(|| faulty(rule, exchange.at))?;
    hold(response.code == Code::CONTENT, "the response has a code of the test", at)?;
    hold(response.options.observe().is_some(), "a registration is answered with Observe", at)?;
    Ok((at, response))
}

fn notifications<'a>(lines: &'a [Line], registration: &Exchange<'a>) -> Vec<Notification<'a>> {
    let client = &lines[registration.at].client;
    let from = registration.response.map_or(lines.len(), |(at, _)| at + 1);
    let mut all: Vec<Notification<'_>> = Vec::new();
    for (at, line) in lines.iter().enumerate().skip(from) {
        let message = &line.message;
        let is_one = line.direction == Direction::ToClient
            && line.client == *client
            && message.kind != Type::Acknowledgement
            && message.code.is_response()
            && message.token == registration.request.token;
        let repeated = all.last().is_some_and(|last| last.message.message_id == message.message_id);
        if is_one && !repeated {
            all.push(Notification { at, message });
        }
    }
    all
}

/// What holds of all of them.
fn check_notifications(
    test: &str,
    registrations: &[&Exchange<'_>],
    notifications: &[Notification<'_>],
    first: &Message,
) -> Checked {
    let mut last = first.options.observe();
    let mut registrations = registrations.iter().filter_map(|exchange| exchange.response).peekable();
    for Notification { at, message } in notifications {
        // Registered anew, the numbers may begin anew.
        while let Some((_, answer)) = registrations.next_if(|(answered, _)| answered < at) {
            last = answer.options.observe();
        }
        let kind = if test == "OBS_02" { Type::NonConfirmable } else { message.kind };
        hold(message.kind == kind, "a notification has the type of the test", *at)?;
        if message.code.is_error() {
            hold(message.options.observe().is_none(), "an error has no Observe", *at)?;
            continue;
        }
        hold(message.code == Code::CONTENT, "the response has a code of the test", *at)?;
        let newer = message.options.observe().zip(last).is_some_and(|(new, old)| is_newer(new, old));
        hold(newer, "each notification has a higher Observe", *at)?;
        let same = message.options.content_format() == first.options.content_format();
        hold(same, "all notifications have one Content-Format", *at)?;
        last = message.options.observe();
    }
    Ok(())
}

/// RFC 7641 §3.4, without its rule about time.
const fn is_newer(new: u32, old: u32) -> bool {
    let ahead = new.wrapping_sub(old) & 0xff_ffff;
    ahead > 0 && ahead < 1 << 23
}

fn acknowledged(lines: &[Line], notification: &Notification<'_>) -> Option<usize> {
    let client = &lines[notification.at].client;
    let mut later = lines.iter().enumerate().skip(notification.at);
    let found = later.find(|(_, line)| {
        line.client == *client
            && line.direction == Direction::ToServer
            && line.message.kind == Type::Acknowledgement
            && line.message.message_id == notification.message.message_id
    });
    found.map(|(at, _)| at)
}

fn check_acknowledged(lines: &[Line], notifications: &[Notification<'_>]) -> Checked {
    present(!notifications.is_empty(), "no notification")?;
    // The last one may have been under way when the capture ended.
    for notification in notifications.iter().rev().skip(1) {
        let answered = notification.message.kind != Type::Confirmable || acknowledged(lines, notification).is_some();
        hold(answered, "the client acknowledges each notification", notification.at)?;
    }
    Ok(())
}

fn check_again(registrations: &[&Exchange<'_>]) -> Checked {
    let (first, again) = registrations.split_first().ok_or(Finding::Incomplete("no registration"))?;
    present(!again.is_empty(), "no registration anew")?;
    for exchange in again {
        hold(exchange.request.token == first.request.token, "a registration anew has the same token", exchange.at)?;
        check_registration(exchange, "a registration anew is answered")?;
    }
    Ok(())
}

fn check_reset(lines: &[Line], notifications: &[Notification<'_>]) -> Checked {
    let reset = lines.iter().position(|line| line.direction == Direction::ToServer && line.message.kind == Type::Reset);
    let reset = reset.ok_or(Finding::Incomplete("no Reset"))?;
    let later = notifications.iter().find(|notification| notification.at > reset);
    later.map_or(Ok(()), |later| Err(faulty("no notification follows a Reset", later.at)))
}

fn check_end(notifications: &[Notification<'_>], fits: impl Fn(Code) -> bool) -> Checked {
    let error = notifications.iter().position(|notification| notification.message.code.is_error());
    let error = error.ok_or(Finding::Incomplete("no notification that it is over"))?;
    let ending = &notifications[error];
    hold(fits(ending.message.code), "the response has a code of the test", ending.at)?;
    let later = notifications.get(error + 1);
    later.map_or(Ok(()), |later| Err(faulty("no notification follows the error", later.at)))
}

fn check_change(all: &[Exchange<'_>], notifications: &[Notification<'_>], first: &Message) -> Checked {
    let changes = all.iter().filter(|exchange| matches!(exchange.request.code, Code::PUT | Code::POST));
    let changed = |exchange: &&Exchange<'_>| exchange.response.is_some_and(|(_, response)| response.code.is_success());
    let change = changes.filter(changed).find(|exchange| exchange.path().starts_with("/obs"));
    let change = change.ok_or(Finding::Incomplete("no change"))?;
    let next = notifications.iter().find(|notification| notification.at > change.at);
    let next = next.ok_or(Finding::Incomplete("no notification of the change"))?;
    let new = next.message.code == Code::CONTENT && next.message.payload == change.request.payload;
    hold(new, "the notification after a change has the new content", next.at)?;
    let same = next.message.options.content_format() == first.options.content_format();
    hold(same, "all notifications have one Content-Format", next.at)
}

fn check_deregistration(all: &[Exchange<'_>], notifications: &[Notification<'_>]) -> Checked {
    let ends = all.iter().find(|exchange| exchange.request.options.observe() == Some(1));
    let ends = ends.ok_or(Finding::Incomplete("no deregistration"))?;
    let (at, response) = ends.answered(&[Code::CONTENT])?;
    hold(response.options.observe().is_none(), "a deregistration is answered without Observe", at)?;
    let later = notifications.iter().find(|notification| notification.at > at);
    later.map_or(Ok(()), |later| Err(faulty("no notification follows the deregistration", later.at)))
}
