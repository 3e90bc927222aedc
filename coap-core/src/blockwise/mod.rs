//! Bodies that travel block by block (RFC 7959).

mod budget;
mod cut;
mod stream;
mod transfers;

pub(crate) use self::budget::Budget;
pub(crate) use self::cut::{Miss, Piece, Stretch};
pub(crate) use self::stream::{Next, Stream};
pub(crate) use self::transfers::{
    Answered, Intake, Kept, Operation, Part, Place, Reply, Stage, Standing, TransferKey, Transfers, Upload, Way,
};
