// What a session plans for its meters: how long windows and idle times have to be, and what it waits for.

#include "meters/power_session.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "tests/meters/waveform.h"

namespace mlpwatt::testing {
namespace {

/// Shows 100 W, and 250 W where `loaded` says so of the time that is on display.
class LateMeter : public Meter {
 public:
  LateMeter(Channel channel, double poll_s, std::function<bool(double)> loaded)
      : channels_{std::move(channel)}, poll_s_(poll_s), loaded_(std::move(loaded)) {}
  std::string name() const override { return "late"; }
  const std::vector<Channel>& channels() const override { return channels_; }
  std::vector<Reading> read(double) override {
    const double now_s = monotonic_now_s();
    // never quite the same, as no load is
    const double ripple_w = 0.1 * std::sin(1000 * now_s);
    return {{now_s, (loaded_(now_s - channels_[0].lag_s) ? 250 : 100) + ripple_w, "", {}}};
  }
  double poll_period_s() const override { return poll_s_; }
  bool slow() const override { return false; }

 private:
  std::vector<Channel> channels_;
  double poll_s_;
  std::function<bool(double)> loaded_;
};

Channel node(double update_period_s) {
  Channel channel;
  channel.domain = "node";
  channel.update_period_s = update_period_s;
  return channel;
}

std::unique_ptr<PowerSession> session_of(
    Channel channel, double poll_s, double idle_s,
    std::function<bool(double)> loaded = [](double) { return true; }) {
  std::vector<std::unique_ptr<Meter>> meters;
  meters.push_back(std::make_unique<LateMeter>(std::move(channel), poll_s, std::move(loaded)));
  return std::make_unique<PowerSession>(std::move(meters), idle_s);
}

TEST(PowerSession, AMeterOfUnknownPeriodIsAsSlowAsItIsRead) {
  // IPMI and Redfish are read every 2 s: ten updates take 20 s, whoever knows how often they are made
  const auto unknown = session_of(node(0), 2, -1), known = session_of(node(2), 0.5, -1);
  EXPECT_DOUBLE_EQ(unknown->least_window_s(), known->least_window_s());
  EXPECT_GE(unknown->least_window_s(), 20);
  EXPECT_DOUBLE_EQ(unknown->idle_s(), 20);
  EXPECT_DOUBLE_EQ(session_of(node(0), 0.05, -1)->idle_s(), 1);
  EXPECT_DOUBLE_EQ(session_of(node(60), 5, -1)->idle_s(), 30) << "clipped: ask for more with --idle-s";
}

TEST(PowerSession, ALongLagIsWaitedForAfterTheIdleTimeToo) {
  Channel channel = node(0.05);
  channel.lag_s = 5.6;
  channel.lag_known = Known::kMeasured;
  std::atomic<double> begin_s = 1e300, end_s = 1e300;  // the sampler reads them
  const auto session = session_of(channel, 0.02, 0.6, [&](double t) { return t >= begin_s && t < end_s; });
  session->be_idle(0.6);
  begin_s = monotonic_now_s();
  session->begin_window();
  std::this_thread::sleep_for(std::chrono::duration<double>(1.5));
  session->end_window();
  end_s = monotonic_now_s();
  session->be_idle(0.6);
  const WindowPower seen = session->result();
  ASSERT_EQ(seen.channels.size(), 1u);
  EXPECT_EQ(flags_text(seen.channels[0].gross.flags), "ok") << seen.channels[0].gross.reason;
  EXPECT_NEAR(seen.channels[0].gross.mean_w(), 250, 15);
  EXPECT_NEAR(seen.channels[0].idle.watts, 100, 15);
}

TEST(PowerSession, ALongLagIsWaitedForByTheIdleTimeOfASittingToo) {
  Channel channel = node(0.05);
  channel.lag_s = 5.6;
  channel.lag_known = Known::kMeasured;
  const auto session = session_of(channel, 0.02, 0);
  session->be_idle_once();
  session->begin_window();
  std::this_thread::sleep_for(std::chrono::duration<double>(0.6));
  session->end_window();
  const WindowPower seen = session->result();
  ASSERT_EQ(seen.channels.size(), 1u);
  EXPECT_EQ(flags_text(seen.channels[0].net.flags), "ok") << seen.channels[0].gross.reason;
  EXPECT_TRUE(std::isfinite(seen.channels[0].idle.watts));
}

TEST(PowerSession, TheJoulesAreOfWhatTheRunTimed) {
  // the thread lost its processor between the run's look at the clock and the meters': other people's joules
  std::atomic<double> begin_s = 1e300, end_s = 1e300;
  const auto session = session_of(node(0.02), 0.01, 0, [&](double t) { return t >= begin_s && t < end_s; });
  const auto pass = [](double seconds) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  };
  session->begin_window();
  pass(0.4);
  begin_s = monotonic_now_s();
  pass(0.8);
  end_s = monotonic_now_s();
  pass(0.4);
  session->end_window();
  const WindowPower seen = session->result(Interval{begin_s, end_s});
  ASSERT_EQ(seen.channels.size(), 1u);
  EXPECT_NEAR(seen.channels[0].gross.mean_w(), 250, 15) << "of the whole window it were 175";
  EXPECT_DOUBLE_EQ(seen.window.length_s(), end_s - begin_s);
}

}  // namespace
}  // namespace mlpwatt::testing
