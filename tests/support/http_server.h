#pragma once
// A small HTTP(S) server on loopback for tests, which can also misbehave as devices do.

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace mlpwatt::testing {

struct HttpRequest {
  std::string path;     ///< with query
  std::string headers;  ///< the lines as they came, "\r\n" between them
};

struct HttpReply {
  int status = 200;
  std::string body;
  std::vector<std::string> headers;
  double delay_s = 0;     ///< before anything is sent
  bool chunked = false;   ///< in chunks of 7 bytes
  bool truncate = false;  ///< announces the whole body, sends half of it and closes
  bool hang = false;      ///< never answers, until the server stops
};

class HttpServer {
 public:
  using Handler = std::function<HttpReply(const HttpRequest&)>;

  /// Listens on a free port of 127.0.0.1. @param tls with a fresh self-signed certificate for 127.0.0.1.
  explicit HttpServer(Handler handler, bool tls = false);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// "https://127.0.0.1:40123"
  std::string url() const;
  int port() const { return port_; }
  /// The certificate as a client's "ca_file".
  const std::string& certificate_pem() const { return certificate_pem_; }
  /// Closes the port and all connections: the device is gone.
  void stop();
  int requests() const { return requests_; }

 private:
  struct Tls;
  struct Connection;
  void accept_all();
  void serve(Connection& connection);
  bool answer(Connection& connection, const HttpReply& reply);

  Handler handler_;
  std::unique_ptr<Tls> tls_;
  std::string certificate_pem_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> requests_{0};
  std::mutex mutex_;
  std::list<Connection> connections_;
  std::thread acceptor_;
};

}  // namespace mlpwatt::testing
