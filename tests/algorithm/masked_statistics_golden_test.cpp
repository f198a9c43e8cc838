// Averages, minima and maxima over masks and over several records, against the recorded tracker.
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/masked_statistics.h"

namespace orrery::algorithm {
namespace {

using nlohmann::json;

/// A value over the elements of a mask, as one number named as the reference does.
void record_reduced(metrics::Statistics& statistics, const std::string& name,
                    const at::Tensor& values, const at::Tensor& mask,
                    const std::string& reduction) {
  metrics::Statistics spread;
  record_spread(spread, "x", values, mask);
  const double count = mask.sum().item<double>();
  if (count == 0) return;
  if (reduction == "AVG") {
    statistics.mean(name, masked_sum(values, mask), count);
  } else if (reduction == "SUM") {
    statistics.sum(name, masked_sum(values, mask));
  } else if (reduction == "MIN") {
    statistics.min(name, spread.value("x_min").value());
  } else {
    ASSERT_EQ(reduction, "MAX");
    statistics.max(name, spread.value("x_max").value());
  }
}

/// x, x_min and x_max are x/avg, x/min and x/max there.
void expect_values(const metrics::Statistics& got, const golden::Fields& expected) {
  std::map<std::string, double> renamed;
  for (const auto& [name, value] : got.values()) {
    const bool has_suffix = name.ends_with("_min") || name.ends_with("_max");
    const std::string stem = has_suffix ? name.substr(0, name.size() - 4) : name;
    if (!got.value(stem + "_min")) {
      renamed[name] = value;
    } else {
      renamed[stem + (has_suffix ? "/" + name.substr(name.size() - 3) : "/avg")] = value;
    }
  }
  EXPECT_EQ(renamed.size(), expected.whole().size());
  for (const auto& [name, value] : expected.whole().items()) {
    ASSERT_TRUE(renamed.contains(name)) << name;
    golden::expect_close(renamed.at(name), value, name);
  }
}

TEST(MaskedStatisticsGolden, AreOverTheElementsOfAllRecords) {
  golden::for_each_case("stats.json", "tracker", [](const golden::Case& c) {
    std::string prefix = c.value<std::string>("tracker_name", "");
    if (!prefix.empty()) prefix += "/";
    if (c.has("scope")) prefix += c["scope"].get<std::string>() + "/";
    metrics::Statistics statistics;
    for (const json& record : c["records"]) {
      const at::Tensor mask = bool_tensor(record.at("mask"));
      statistics.sum("n_tok", mask.sum().item<double>());
      record_spread(statistics, "loss", float_tensor(record.at("loss")), mask);
      record_reduced(statistics, "other", float_tensor(record.at("other")), mask,
                     record.at("other_reduce").get<std::string>());
      statistics.scalar("lr", golden::to_double(record.at("lr")));
    }
    expect_values(statistics.with_prefix(prefix), c.expect());
  });
}

TEST(MaskedStatisticsGolden, MergeOverDataRanks) {
  golden::for_each_case("stats.json", "tracker_dp", [](const golden::Case& c) {
    metrics::Statistics merged;
    for (size_t rank = 0; rank < c["n_ranks"].get<size_t>(); ++rank) {
      metrics::Statistics own;
      for (const json& record : c["records"]) {
        const at::Tensor mask = bool_tensor(record.at("mask").at(rank));
        const at::Tensor x = float_tensor(record.at("x").at(rank));
        own.sum("n", mask.sum().item<double>());
        record_spread(own, "x", x, mask);
        record_reduced(own, "s", x, mask, "SUM");
        own.scalar("c", golden::to_double(record.at("scalar").at(rank)));
      }
      merged.merge(own);
    }
    expect_values(merged, c.expect());
  });
}

}  // namespace
}  // namespace orrery::algorithm
