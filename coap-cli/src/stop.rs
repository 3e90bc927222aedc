//! When somebody wants the program to end.

/// Ctrl-C, and where there is one, the signal of whoever manages services.
pub(crate) async fn told_to() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                () = interrupted() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    interrupted().await;
}

async fn interrupted() {
    // Without a handler the signal ends the process by itself.
    if tokio::signal::ctrl_c().await.is_err() {
        core::future::pending::<()>().await;
    }
}
