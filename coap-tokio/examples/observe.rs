//! Follows a resource for a minute: `cargo run -p coap-tokio --example observe -- coap://localhost/time`

use core::time::Duration;

use coap_tokio::{Client, Error, Observed};
use tokio::time::{Instant, timeout_at};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let uri = std::env::args().nth(1).unwrap_or_else(|| "coap://localhost/time".to_owned());
    let mut observation = Client::bind("[::]:0").await?.observe(uri).await?;
    let end = Instant::now() + Duration::from_secs(60);
    while let Ok(Some(observed)) = timeout_at(end, observation.next()).await {
        match observed {
            Observed::Notification(state) => println!("{}", state.text().unwrap_or("(not a text)")),
            Observed::Stale => println!("(nothing new for longer than the last state was good for)"),
            Observed::Reregistering { attempt } => println!("(asked again, for the {attempt}. time)"),
            Observed::Ended(reply) => println!("(not observed any more: {})", reply.code),
            Observed::Lost(error) => return Err(error),
            _ => {}
        }
    }
    observation.cancel().await;
    Ok(())
}
