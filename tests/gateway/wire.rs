//! One connection with every byte in the test's hand: duplicate headers, half requests, rude endings.
//! A browser's client would refuse to send what these tests must send.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use socket2::{Domain, Socket, Type};

use crate::Answer;

/// A read that gets nothing for this long fails the test.
const READ_PATIENCE: Duration = Duration::from_secs(20);

/// Anything that carries bytes both ways.
pub(crate) trait Stream: Read + Write + Send {
    /// Say that nothing more will be said, in the connection's own way.
    fn say_all(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Stream for TcpStream {}
impl Stream for UnixStream {}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn say_all(&mut self) -> std::io::Result<()> {
        self.conn.send_close_notify();
        self.flush()
    }
}

/// A connection, and what was read of it but not used.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    tcp: Option<TcpStream>,
    buffer: Vec<u8>,
    /// The last request was HEAD: its answer has no body, whatever its headers say.
    answers_head: bool,
}

impl Wire {
    /// Plain TCP.
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let tcp = dial(address);
        Self::over(Box::new(tcp.try_clone().unwrap()), Some(tcp))
    }

    /// Plain TCP from another address of this machine: somebody else, to the gateway.
    pub(crate) fn tcp_from(source: IpAddr, address: SocketAddr) -> Self {
        let tcp = dial_from(source, address);
        Self::over(Box::new(tcp.try_clone().unwrap()), Some(tcp))
    }

    /// TLS with this SNI. The handshake is made here: a refusal fails the test.
    pub(crate) fn tls(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Self {
        Self::try_tls(address, name, config).unwrap()
    }

    /// TLS whose handshake may be refused.
    pub(crate) fn try_tls(
        address: SocketAddr,
        name: &str,
        config: Arc<ClientConfig>,
    ) -> std::io::Result<Self> {
        Self::try_tls_behind(&[b""], dial(address), name, config)
    }

    /// TLS behind bytes that a load balancer sends first, each piece by itself; the last leaves with the handshake's
    /// first.
    pub(crate) fn try_tls_behind(
        pieces: &[&[u8]],
        mut tcp: TcpStream,
        name: &str,
        config: Arc<ClientConfig>,
    ) -> std::io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(config, name).unwrap();
        let (last, first) = pieces.split_last().unwrap();
        first.iter().try_for_each(|piece| tcp.write_all(piece))?;
        let mut hello = last.to_vec();
        session.write_tls(&mut hello)?;
        tcp.write_all(&hello)?;
        let mut handshake = tcp.try_clone()?;
        while session.is_handshaking() {
            session.complete_io(&mut handshake)?;
        }
        Ok(Self::over(Box::new(StreamOwned::new(session, tcp.try_clone()?)), Some(tcp)))
    }

    /// A Unix socket.
    pub(crate) fn unix(path: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(READ_PATIENCE))?;
        Ok(Self::over(Box::new(stream), None))
    }

    fn over(stream: Box<dyn Stream>, tcp: Option<TcpStream>) -> Self {
        Self { stream, tcp, buffer: Vec::new(), answers_head: false }
    }

    /// The bare stream, for a protocol after the upgrade.
    pub(crate) fn into_stream(self) -> Box<dyn Stream> {
        assert!(self.buffer.is_empty(), "bytes came before they were asked for");
        self.stream
    }

    /// Send exactly these bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Send as much as the peer takes.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let bytes = bytes.as_ref();
        self.answers_head = bytes.starts_with(b"HEAD ");
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Say no more, and go on listening.
    pub(crate) fn half_close(&mut self) {
        self.stream.say_all().unwrap();
        self.tcp.as_ref().unwrap().shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Send as many of these bytes as are taken at once.
    pub(crate) fn try_send_some(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }

    /// A peer that takes nothing for this long is given up.
    pub(crate) fn give_up_writing_after(&self, patience: Duration) {
        self.tcp.as_ref().unwrap().set_write_timeout(Some(patience)).unwrap();
    }

    /// Vanish as a crashed client does: with a reset.
    pub(crate) fn vanish(self) {
        let tcp = self.tcp.as_ref().unwrap();
        socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// The next answer, whole, with interim ones (1xx) skipped.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        while answer.status / 100 == 1 && answer.status != 101 {
            answer = self.head();
        }
        self.read_body(&mut answer);
        answer
    }

    /// The next head alone, interim or final.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Answer {
        self.try_head().unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The next head, or how the connection ended instead.
    pub(crate) fn try_head(&mut self) -> std::io::Result<Answer> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Ok(Answer::from_head(&String::from_utf8_lossy(&head)));
            }
            self.fill()?;
        }
    }

    /// Read what follows the head into `answer.body`.
    #[track_caller]
    pub(crate) fn read_body(&mut self, answer: &mut Answer) {
        if self.answers_head || matches!(answer.status, 101 | 204 | 304) {
            return;
        }
        if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            while let Some(chunk) = self.chunk() {
                answer.body.extend(chunk);
            }
            answer.trailers = self.trailers();
        } else if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().unwrap();
            answer.body = self.exactly(length).unwrap_or_else(|error| panic!("the body was cut: {error}"));
        } else {
            while self.fill().is_ok() {}
            answer.body = std::mem::take(&mut self.buffer);
        }
    }

    /// The next chunk of a chunked body as it was sent; `None` at its end (read `trailers` then).
    #[track_caller]
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        self.try_chunk().unwrap_or_else(|error| panic!("the body was cut: {error}"))
    }

    /// The next chunk, or how the body was cut.
    pub(crate) fn try_chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).unwrap();
        if size == 0 {
            return Ok(None);
        }
        let chunk = self.exactly(size)?;
        self.exactly(2)?;
        Ok(Some(chunk))
    }

    /// The trailers after the last chunk.
    pub(crate) fn trailers(&mut self) -> Vec<(String, String)> {
        let mut trailers = Vec::new();
        loop {
            let line = self.line().unwrap();
            let Some((name, value)) = line.split_once(':') else { return trailers };
            trailers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// `length` bytes.
    pub(crate) fn exactly(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// True when the peer has closed, however rudely, with nothing more to read.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.fill().is_err()
    }

    /// Does something come within `patience`? Only for plain TCP.
    pub(crate) fn comes_within(&mut self, patience: Duration) -> bool {
        let tcp = self.tcp.as_ref().unwrap();
        tcp.set_read_timeout(Some(patience)).unwrap();
        let came = !self.buffer.is_empty() || self.fill().is_ok();
        self.tcp.as_ref().unwrap().set_read_timeout(Some(READ_PATIENCE)).unwrap();
        came
    }

    fn line(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> std::io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        let read = self.stream.read(&mut bytes)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&bytes[..read]);
        Ok(())
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire(..)")
    }
}

/// A connection from another address of this machine.
pub(crate) fn dial_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    patient(socket.into())
}

fn dial(address: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(address).unwrap())
}

fn patient(tcp: TcpStream) -> TcpStream {
    tcp.set_read_timeout(Some(READ_PATIENCE)).unwrap();
    tcp.set_write_timeout(Some(READ_PATIENCE)).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
