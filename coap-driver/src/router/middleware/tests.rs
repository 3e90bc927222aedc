use std::sync::Mutex;

use coap_core::{Code, ContentFormat, OptionNumber};

use super::super::tests::{ask, request};
use super::super::{get, put};
use super::*;

async fn hello() -> &'static str {
    "hello"
}

async fn echo(text: String) -> (Code, String) {
    (Code::CHANGED, text)
}

fn routes() -> Router {
    Router::new().route("/hello", get(hello).rt("greeting").put(echo))
}

#[test]
fn a_middleware_sees_every_request_and_every_answer() {
    let seen = Arc::<Mutex<Vec<(Code, Code)>>>::default();
    let log = seen.clone();
    let router = routes().wrap(move |inbound: Inbound, next: Next| {
        let log = log.clone();
        async move {
            let method = inbound.request.code;
            let answer = next.run(inbound).await;
            log.lock().unwrap().push((method, answer.code));
            answer
        }
    });
    assert_eq!(ask(&router, &request(Code::GET, &["hello"])).body.as_bytes(), b"hello");
    assert_eq!(ask(&router, &request(Code::PUT, &["hello"]).with_body("x")).body.as_bytes(), b"x");
    assert_eq!(ask(&router, &request(Code::GET, &["nowhere"])).code, Code::NOT_FOUND);
    let links = ask(&router, &request(Code::GET, &[".well-known", "core"]));
    assert_eq!(links.body.as_bytes(), b"</hello>;rt=\"greeting\"");
    let all = [(Code::GET, Code::CONTENT), (Code::PUT, Code::CHANGED), (Code::GET, Code::NOT_FOUND)];
    assert_eq!(seen.lock().unwrap()[..3], all);
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[test]
fn a_middleware_may_answer_by_itself_or_change_the_request_or_the_answer() {
    async fn changing(mut inbound: Inbound, next: Next) -> Result<Answer, Code> {
        if inbound.request.code == Code::PUT {
            return Err(Code::FORBIDDEN);
        }
        inbound.request.options.remove(OptionNumber::URI_PATH);
        inbound.request.options.push_uri_path("hello").map_err(|_| Code::INTERNAL_SERVER_ERROR)?;
        let mut answer = next.run(inbound).await;
        answer.options.set_max_age(7);
        Ok(answer)
    }
    let router = routes().wrap(changing);
    let moved = ask(&router, &request(Code::GET, &["elsewhere"]));
    assert_eq!((moved.body.as_bytes(), moved.options.max_age()), (&b"hello"[..], Some(7)));
    assert_eq!(moved.options.content_format(), Some(ContentFormat::TEXT_PLAIN));
    assert_eq!(ask(&router, &request(Code::PUT, &["hello"])).code, Code::FORBIDDEN);
}

#[test]
fn what_is_put_around_later_is_further_out() {
    let mark = |mark: u8| {
        move |inbound: Inbound, next: Next| async move {
            let mut answer = next.run(inbound).await;
            let _ = answer.options.push(OptionNumber::LOCATION_PATH, &[mark]);
            answer
        }
    };
    let marked = ask(&routes().wrap(mark(b'1')).wrap(mark(b'2')), &request(Code::GET, &["hello"]));
    assert!(marked.options.location_path().eq([b"1", b"2"]));
}

#[test]
fn nothing_is_added_to_a_router_that_something_is_around_of() {
    let wrapped = || routes().wrap(async |inbound: Inbound, next: Next| next.run(inbound).await);
    assert_eq!(wrapped().check(), Ok(()));
    for wrong in [
        wrapped().route("/late", put(hello)),
        wrapped().fallback(hello),
        wrapped().host("h", Router::new()),
        wrapped().nest("/a", routes()),
        Router::new().nest("/a", wrapped()),
        Router::new().host("h", wrapped()),
    ] {
        assert_eq!(wrong.check(), Err(&RouteError::Wrapped));
    }
    let wrong = Router::new().route("x", get(hello)).wrap(async |inbound: Inbound, next: Next| next.run(inbound).await);
    assert_eq!(wrong.check(), Err(&RouteError::NoSlash { pattern: "x".to_owned() }));
}

#[cfg(feature = "tower")]
#[test]
fn a_layer_of_tower_is_a_middleware() {
    use core::task::{Context, Poll};

    use tower_service::Service;

    /// Lets so many through.
    #[derive(Clone)]
    struct AtMost {
        inner: Next,
        left: Arc<Mutex<u8>>,
    }

    #[derive(Debug)]
    struct NoMore;

    impl Service<Inbound> for AtMost {
        type Response = Answer;
        type Error = NoMore;
        type Future = core::pin::Pin<Box<dyn Future<Output = Result<Answer, NoMore>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoMore>> {
            let left = *self.left.lock().unwrap();
            Poll::Ready(if left == 0 { Err(NoMore) } else { Ok(()) })
        }

        fn call(&mut self, inbound: Inbound) -> Self::Future {
            *self.left.lock().unwrap() -= 1;
            let answer = self.inner.call(inbound);
            Box::pin(async move { answer.await.map_err(|never| match never {}) })
        }
    }

    let left = Arc::new(Mutex::new(2));
    let router = routes().layer(tower_layer::layer_fn(|inner| AtMost { inner, left: left.clone() }));
    let code = || ask(&router, &request(Code::GET, &["hello"])).code;
    assert_eq!([code(), code(), code()], [Code::CONTENT, Code::CONTENT, Code::SERVICE_UNAVAILABLE]);
}
