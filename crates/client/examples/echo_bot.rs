//! A bot that says everything again: `cargo run -p hubbub-client --example echo_bot -- http://127.0.0.1:8080 NAME PASSWORD`.
//!
//! Whatever is said in its conversations it repeats, once, over any number of restarts of the server.

use std::io::{Error, Write as _};
use std::time::Duration;

use hubbub_client::{Client, ClientOptions, Notice, Rest};
use hubbub_wire::client::EventData;
use hubbub_wire::rest::Login;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(username), Some(password)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err(Error::other("usage: echo_bot URL NAME PASSWORD").into());
    };
    let session = Rest::new(&url)?
        .login(&Login {
            username,
            password,
            totp: None,
        })
        .await?;
    let (client, mut events) =
        Client::connect(ClientOptions::new(vec![url], session.token, "echo-bot"))?;
    if client.wait_caught_up(Duration::from_secs(30)).await {
        let inbox = client.follow_inbox().await?;
        writeln!(
            std::io::stdout(),
            "listening in {} conversations",
            inbox.len()
        )?;
    }
    while let Some(notice) = events.next().await {
        let Notice::Delivered(event) = notice else {
            continue;
        };
        let EventData::MessageSent(message) = &event.event else {
            continue;
        };
        let Some(body) = message
            .body
            .as_deref()
            .filter(|_body| event.by != session.user.id)
        else {
            continue;
        };
        // The receipt may be dropped: the client sends it until it is answered, whoever waits.
        client.send(event.conversation_id, body).await?;
    }
    Ok(())
}
