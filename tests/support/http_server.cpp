#include "tests/support/http_server.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <stdexcept>

namespace mlpwatt::testing {

struct HttpServer::Tls {
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context{SSL_CTX_new(TLS_server_method()), SSL_CTX_free};

  /// A key and a certificate for 127.0.0.1 signed by itself, valid for an hour. @return it as PEM
  std::string make_certificate() {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
    const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
    X509_set_version(certificate.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
    X509_set_pubkey(certificate.get(), key.get());
    X509_NAME* name = X509_get_subject_name(certificate.get());
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("meter under test"), -1, -1, 0);
    X509_set_issuer_name(certificate.get(), name);
    for (const auto& [kind, value] : {std::pair{NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost"},
                                      std::pair{NID_basic_constraints, "critical,CA:TRUE"}}) {
      X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value);
      X509_add_ext(certificate.get(), extension, -1);
      X509_EXTENSION_free(extension);
    }
    if (X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0 ||
        SSL_CTX_use_certificate(context.get(), certificate.get()) != 1 ||
        SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1)
      throw std::runtime_error("test server: no certificate could be made");
    const std::unique_ptr<BIO, decltype(&BIO_free)> memory(BIO_new(BIO_s_mem()), BIO_free);
    PEM_write_bio_X509(memory.get(), certificate.get());
    char* text = nullptr;
    const long length = BIO_get_mem_data(memory.get(), &text);
    return std::string(text, static_cast<std::size_t>(length));
  }
};

struct HttpServer::Connection {
  int socket = -1;
  SSL* tls = nullptr;
  std::thread thread;

  long receive(char* buffer, int size) {
    return tls != nullptr ? SSL_read(tls, buffer, size)
                          : ::recv(socket, buffer, static_cast<size_t>(size), 0);
  }
  bool send(const std::string& text) {
    std::size_t sent = 0;
    while (sent < text.size()) {
      const int left = static_cast<int>(text.size() - sent);
      const long got = tls != nullptr
                           ? SSL_write(tls, text.data() + sent, left)
                           : ::send(socket, text.data() + sent, static_cast<size_t>(left), MSG_NOSIGNAL);
      if (got <= 0) return false;
      sent += static_cast<std::size_t>(got);
    }
    return true;
  }
};

HttpServer::HttpServer(Handler handler, bool tls) : handler_(std::move(handler)) {
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
  if (tls) {
    tls_ = std::make_unique<Tls>();
    certificate_pem_ = tls_->make_certificate();
  }
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(listener_, 16) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length) != 0)
    throw std::runtime_error("test server: cannot listen on 127.0.0.1");
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

HttpServer::~HttpServer() { stop(); }

void HttpServer::stop() {
  if (stopping_.exchange(true)) return;
  acceptor_.join();
  close(listener_);
  {
    const std::lock_guard lock(mutex_);
    for (Connection& connection : connections_) shutdown(connection.socket, SHUT_RDWR);
  }
  for (Connection& connection : connections_) {
    connection.thread.join();
    SSL_free(connection.tls);
    close(connection.socket);
  }
}

std::string HttpServer::url() const {
  return std::string(tls_ ? "https" : "http") + "://127.0.0.1:" + std::to_string(port_);
}

void HttpServer::accept_all() {
  while (!stopping_) {
    pollfd wait{listener_, POLLIN, 0};
    if (poll(&wait, 1, 20) <= 0) continue;
    const int accepted = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (accepted < 0) continue;
    const std::lock_guard lock(mutex_);
    Connection& connection = connections_.emplace_back();
    connection.socket = accepted;
    connection.thread = std::thread([this, &connection] { serve(connection); });
  }
}

void HttpServer::serve(Connection& connection) {
  if (tls_) {
    connection.tls = SSL_new(tls_->context.get());
    SSL_set_fd(connection.tls, connection.socket);
    if (SSL_accept(connection.tls) != 1) {
      shutdown(connection.socket, SHUT_RDWR);
      return;
    }
  }
  std::string received;
  for (char buffer[4096]; !stopping_;) {
    const auto end = received.find("\r\n\r\n");
    if (end == std::string::npos) {
      const long got = connection.receive(buffer, sizeof buffer);
      if (got <= 0) break;
      received.append(buffer, static_cast<std::size_t>(got));
      continue;
    }
    const std::string head = received.substr(0, end);
    received.erase(0, end + 4);
    const auto first = head.find("\r\n"), space = head.find(' '), second = head.find(' ', space + 1);
    ++requests_;
    if (!answer(connection, handler_({head.substr(space + 1, second - space - 1),
                                      first == std::string::npos ? "" : head.substr(first + 2)})))
      break;
  }
  shutdown(connection.socket, SHUT_RDWR);
}

bool HttpServer::answer(Connection& connection, const HttpReply& reply) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(reply.delay_s);
  while (!stopping_ && (reply.hang || std::chrono::steady_clock::now() < until))
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  if (stopping_) return false;
  std::string text = "HTTP/1.1 " + std::to_string(reply.status) + " X\r\nContent-Type: application/json\r\n";
  for (const std::string& header : reply.headers) text += header + "\r\n";
  if (reply.chunked) {
    text += "Transfer-Encoding: chunked\r\n\r\n";
    for (std::size_t at = 0; at < reply.body.size(); at += 7) {
      const std::string piece = reply.body.substr(at, 7);
      text += std::to_string(piece.size()) + "\r\n" + piece + "\r\n";
    }
    return connection.send(text + "0\r\n\r\n");
  }
  text += "Content-Length: " + std::to_string(reply.body.size()) + "\r\n\r\n";
  if (!reply.truncate) return connection.send(text + reply.body);
  connection.send(text + reply.body.substr(0, reply.body.size() / 2));
  return false;
}

}  // namespace mlpwatt::testing
