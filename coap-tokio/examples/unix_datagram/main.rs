//! A server and a client that talk over Unix datagram sockets, with a transport of one's own.

#[cfg(unix)]
mod transport;

#[cfg(unix)]
#[tokio::main]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    use coap_tokio::router::{Router, get};
    use coap_tokio::{Client, Server, TokioRuntime};
    use transport::UnixTransport;

    let folder = std::env::temp_dir().join(format!("coap-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (here, there) = (folder.join("client"), folder.join("server"));

    let server = Server::builder(TokioRuntime::current()?).transport(UnixTransport::bind(&there)?).server().await?;
    tokio::spawn(server.serve(Router::new().route("/hello", get(async || "hello"))));

    let transport = UnixTransport::bind(&here)?;
    let client = Client::builder(TokioRuntime::current()?).transport(transport.clone()).client().await?;
    let peer = transport.peer(&there);
    println!("{:?}", client.get((peer, "coap://server/hello")).await?.text());

    std::fs::remove_dir_all(folder)?;
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    eprintln!("this system has no Unix datagram sockets");
}
