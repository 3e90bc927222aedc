//! As a server: the bodies of the requests of a peer, and of our responses to them.

mod cut;
mod stream;
mod transfers;

pub(crate) use self::cut::{Miss, Piece, Stretch};
pub(crate) use self::stream::{Next, Stream};
pub(crate) use self::transfers::{
    Answered, Intake, Kept, Operation, Part, Place, Reply, Stage, Standing, TransferKey, Transfers, Upload, Way,
};
