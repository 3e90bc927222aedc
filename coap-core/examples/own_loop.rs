//! CoAP without a runtime: a server and a client, each an `Endpoint` in a loop over a socket of the standard library.
//!
//! `cargo run -p coap-core --example own_loop`
#![allow(clippy::disallowed_methods)] // The clock is the caller's, and this is the caller.

use core::time::Duration;
use std::io::{Error, ErrorKind, Result};
use std::net::UdpSocket;
use std::time::Instant as Clock;

use coap_core::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

struct Loop {
    endpoint: Endpoint,
    socket: UdpSocket,
    start: Clock,
}

impl Loop {
    fn new(secret: u64) -> Result<Self> {
        // A real program draws the seed from the system.
        let endpoint = Endpoint::new(Config::default(), ChaCha20Rng::seed_from_u64(secret));
        Ok(Self { endpoint, socket: UdpSocket::bind("127.0.0.1:0")?, start: Clock::now() })
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.start.elapsed().as_micros() as u64)
    }

    /// The next event: send what is to be sent, then wait for a datagram or the time that the endpoint names.
    fn next_event(&mut self) -> Result<Event> {
        let mut buf = [0; 1_152];
        loop {
            while let Some(transmit) = self.endpoint.poll_transmit(&mut buf) {
                let Some(to) = transmit.to.udp() else { continue };
                self.socket.send_to(&buf[..transmit.len], to.socket_addr())?;
            }
            if let Some(event) = self.endpoint.poll_event() {
                return Ok(event);
            }
            let due = self.endpoint.poll_timeout();
            self.socket.set_read_timeout(due.map(|due| (due - self.now()).max(Duration::from_micros(1))))?;
            match self.socket.recv_from(&mut buf) {
                Ok((len, from)) => {
                    let payload = buf[..len].to_vec().into();
                    let datagram = Datagram { from: from.into(), to: Local::default(), payload };
                    self.endpoint.handle_datagram(self.now(), datagram);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
            self.endpoint.handle_timeout(self.now());
        }
    }
}

fn main() -> Result<()> {
    let mut server = Loop::new(1)?;
    let address = server.socket.local_addr()?;
    std::thread::spawn(move || -> Result<()> {
        loop {
            let Event::Request(request) = server.next_event()? else { continue };
            let response = Response::content(ContentFormat::TEXT_PLAIN, "21.5 °C");
            server.endpoint.respond(server.now(), request.id, response).map_err(Error::other)?;
        }
    });

    let mut client = Loop::new(2)?;
    let mut request = Request::get();
    request.options.push_uri_path("temperature").map_err(Error::other)?;
    client.endpoint.request(client.now(), address.into(), request, &RequestOptions::new()).map_err(Error::other)?;
    if let Event::Response { response, .. } = client.next_event()? {
        println!("{}: {}", response.code, String::from_utf8_lossy(response.body.as_bytes()));
    }
    Ok(())
}
