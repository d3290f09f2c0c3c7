//! One tenant's data, out and in, while the gateway runs.

use std::path::Path as FilePath;

use axum::{body::Body, extract::State, response::Response};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use super::{Desk, Path, tenants};
use crate::{
    admin::{Problem, scratch::Scratch},
    pool::{self, PoolError},
    tenant::TenantId,
};

/// The first bytes of every SQLite file.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// The database as one SQLite file, as it was at one moment.
pub(super) async fn dump(State(desk): State<Desk>, Path(id): Path<TenantId>) -> Result<Response, Problem> {
    let from = tenants::database_path(&desk, &id)?;
    let scratch = Scratch::new(&desk.scratch_dir()).map_err(|e| Problem::machine("make a file", &e))?;
    pool::online_copy(&from, scratch.path()).await.map_err(|error| Problem::of(&error))?;
    let file = tokio::fs::File::open(scratch.path()).await;
    let file = file.map_err(|error| Problem::machine("open the copy", &error))?;
    // The open file outlives its name: dropping the guard here leaves nothing behind whatever happens next.
    Ok(Response::new(Body::from_stream(ReaderStream::new(file))))
}

/// Put a SQLite file in the place of the tenant's database: proven whole first, swapped in while nobody has a
/// connection, the old one kept until then.
pub(super) async fn load(
    State(desk): State<Desk>,
    Path(id): Path<TenantId>,
    body: Body,
) -> Result<(), Problem> {
    let target = tenants::database_path(&desk, &id)?;
    let scratch = Scratch::new(&desk.scratch_dir()).map_err(|e| Problem::machine("make a file", &e))?;
    receive(body, scratch.path(), desk.places.file_bytes_max).await?;
    pool::check(scratch.path()).await.map_err(|error| damaged(&error))?;
    let hold = desk.pools.drain(&id).await.map_err(|error| Problem::of(&error))?;
    // What a crash left beside the old database would be replayed into the new one. Opening and closing the old
    // one folds it in; a database too damaged for that is being replaced anyway.
    let _folded = pool::check(&target).await;
    for suffix in ["-wal", "-shm", "-journal"] {
        remove_beside(&target, suffix).await?;
    }
    // It arrives under another name and is renamed: a crash leaves either the old database or the new one.
    pool::online_copy(scratch.path(), &target).await.map_err(|error| Problem::of(&error))?;
    drop(hold);
    Ok(())
}

/// What the caller sent is damaged; the name that it has here meanwhile tells nobody anything.
fn damaged(error: &PoolError) -> Problem {
    let finding = match error {
        PoolError::Damaged { finding, .. } => finding.clone(),
        PoolError::Sqlite { source, .. } => source.to_string(),
        other => return Problem::of(other),
    };
    Problem::new(415, "database-damaged", format!("the file to load is damaged: {finding}")).hint(
        "the tenant's database is as it was; load another copy, or try sqlite3's `.recover` on this one",
    )
}

async fn remove_beside(path: &FilePath, suffix: &str) -> Result<(), Problem> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    match tokio::fs::remove_file(&beside).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Problem::machine(&format!("remove `{}`", beside.display()), &error))
        }
        _ => Ok(()),
    }
}

async fn receive(body: Body, path: &FilePath, bytes_max: u64) -> Result<(), Problem> {
    let unwritable = |error: std::io::Error| Problem::machine("keep the upload", &error);
    let mut file = tokio::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .await
        .map_err(unwritable)?;
    let mut chunks = body.into_data_stream();
    let (mut head, mut length) = (Vec::<u8>::new(), 0_u64);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Problem::new(400, "upload-broken", error.to_string()))?;
        length += chunk.len() as u64;
        if length > bytes_max {
            let detail = format!("the file is larger than {bytes_max} bytes");
            return Err(Problem::new(413, "too-large", detail).hint("raise `pool.sqlite.file_bytes_max`"));
        }
        head.extend(chunk.iter().take(SQLITE_MAGIC.len() - head.len().min(SQLITE_MAGIC.len())));
        file.write_all(&chunk).await.map_err(unwritable)?;
    }
    if head != SQLITE_MAGIC {
        return Err(Problem::new(415, "no-database-file", "this is no SQLite file")
            .hint("load takes what `gateway tenant dump` or sqlite3's `.backup` writes"));
    }
    file.sync_all().await.map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_damaged_upload_is_told_as_what_it_is_without_our_own_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("23757-5");
        std::fs::write(&path, [SQLITE_MAGIC, &[7; 4096]].concat()).unwrap();
        let problem = damaged(&pool::check(&path).await.unwrap_err());
        assert_eq!((problem.status, problem.code.as_str()), (415, "database-damaged"));
        assert!(
            !problem.detail.contains("23757-5") && problem.detail.contains("file to load"),
            "{problem:?}"
        );
    }

    #[tokio::test]
    async fn an_upload_that_is_no_database_or_too_large_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        let problem = receive(Body::from("hello"), &path("a"), 100).await.unwrap_err();
        assert_eq!(problem.code, "no-database-file");
        let database = [SQLITE_MAGIC, &[0; 100]].concat();
        let problem = receive(Body::from(database.clone()), &path("b"), 100).await.unwrap_err();
        assert_eq!(problem.status, 413);
        receive(Body::from(database.clone()), &path("c"), 1000).await.unwrap();
        assert_eq!(std::fs::read(path("c")).unwrap(), database);
    }
}
