#include "master_file.h"

#include <cereal/archives/binary.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/vector.hpp>
#include <sstream>

#include "orrery/base/error.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace {

using Json = nlohmann::json;

Json to_json(const master::FrequencyControl::State& state) {
  return {{"steps", state.steps},
          {"epochs", state.epochs},
          {"seconds", state.seconds},
          {"has_checked", state.has_checked}};
}

master::FrequencyControl::State frequency_from(const Json& json) {
  return {.steps = json.at("steps").get<int64_t>(),
          .epochs = json.at("epochs").get<int64_t>(),
          .seconds = json.at("seconds").get<double>(),
          .has_checked = json.at("has_checked").get<bool>()};
}

Json to_json(const master::BestModel::State& best) {
  return {{"metric", best.metric},
          {"step", best.step},
          {"value", best.value},
          {"n_without_rise", best.n_without_rise}};
}

/// Of a checkpoint of the version before, which kept none: nothing.
master::BestModel::State best_from(const Json& state) {
  const auto best = state.find("best");
  if (best == state.end()) return {};
  return {.metric = best->at("metric").get<std::string>(),
          .step = best->at("step").get<int64_t>(),
          .value = best->at("value").get<double>(),
          .n_without_rise = best->at("n_without_rise").get<int64_t>()};
}

Json to_json(const data::DataOrder::State& order) {
  Json cursors = Json::array();
  for (const data::DataOrder::State::Cursor& cursor : order.cursors) {
    cursors.push_back({{"epoch", cursor.epoch},
                       {"position", cursor.position},
                       {"n_rows", cursor.n_rows},
                       {"fingerprint", cursor.fingerprint}});
  }
  return {{"cursors", cursors}, {"next_id", order.next_id}, {"seed", order.seed}};
}

data::DataOrder::State order_from(const Json& json) {
  data::DataOrder::State order{.cursors = {},
                               .next_id = json.at("next_id").get<uint64_t>(),
                               .seed = json.at("seed").get<uint64_t>()};
  for (const Json& cursor : json.at("cursors")) {
    order.cursors.push_back({.epoch = cursor.at("epoch").get<int64_t>(),
                             .position = cursor.at("position").get<int64_t>(),
                             .n_rows = cursor.at("n_rows").get<int64_t>(),
                             .fingerprint = cursor.at("fingerprint").get<uint64_t>()});
  }
  return order;
}

std::string need_blob(checkpoint::CheckpointReader& reader, const std::string& name) {
  std::optional<std::string> blob = reader.blob(name);
  if (!blob) {
    throw CheckpointError(
        base::concat(reader.directory().string(), ": no ", name, " in master.h5"));
  }
  return std::move(*blob);
}

}  // namespace

std::string state_text(const master::MasterState& state) {
  return Json{{"steps_done", state.steps_done},
              {"seconds", state.seconds},
              {"target_reached", state.target_reached},
              {"evaluated_at", state.evaluated_at},
              {"exported_at", state.exported_at},
              {"evaluate", to_json(state.evaluate)},
              {"export", to_json(state.export_models)},
              {"checkpoint", to_json(state.checkpoint)},
              {"role_versions", state.role_versions},
              {"order", to_json(state.order)},
              {"best", to_json(state.best)}}
      .dump();
}

master::MasterState parse_state(const std::string& text) {
  const auto [json, problem] = base::parse_json(text);
  if (!problem.empty()) {
    throw CheckpointError(base::concat("the master's state cannot be read: ", problem));
  }
  try {
    return {.steps_done = json.at("steps_done").get<int64_t>(),
            .seconds = json.at("seconds").get<double>(),
            .target_reached = json.at("target_reached").get<bool>(),
            .evaluated_at = json.at("evaluated_at").get<int64_t>(),
            .exported_at = json.at("exported_at").get<int64_t>(),
            .evaluate = frequency_from(json.at("evaluate")),
            .export_models = frequency_from(json.at("export")),
            .checkpoint = frequency_from(json.at("checkpoint")),
            .best = best_from(json),
            .role_versions = json.at("role_versions").get<std::map<std::string, int64_t>>(),
            .order = order_from(json.at("order")),
            .refill = {}};
  } catch (const Json::exception& error) {
    throw CheckpointError(base::concat("the master's state cannot be read: ", error.what()));
  }
}

std::string refill_bytes(const master::RefillState& state) {
  std::ostringstream out;
  cereal::BinaryOutputArchive archive(out);
  archive(state);
  return std::move(out).str();
}

std::optional<master::RefillState> read_refill(checkpoint::CheckpointReader& reader) {
  std::optional<std::string> bytes = reader.blob("master/dynamic_sampling");
  if (!bytes) return std::nullopt;
  master::RefillState state;
  try {
    std::istringstream in(std::move(*bytes));
    cereal::BinaryInputArchive archive(in);
    archive(state);
  } catch (const std::exception& error) {
    throw CheckpointError(
        base::concat("the state of dynamic sampling cannot be read: ", error.what()));
  }
  return state;
}

checkpoint::FileRecord write_master_file(const std::filesystem::path& directory,
                                         const MasterFile& master) {
  checkpoint::ShardWriter file(directory / "master.h5");
  file.add_blob("master/state", state_text(master.state));
  file.add_blob("master/config", master.resolved_config);
  file.add_blob("master/learning", master.learning.lasting_text());
  if (master.state.refill) {
    file.add_blob("master/dynamic_sampling", refill_bytes(*master.state.refill));
  }
  return file.finish();
}

MasterFile read_master_file(checkpoint::CheckpointReader& reader) {
  MasterFile file{.state = parse_state(need_blob(reader, "master/state")),
                  .resolved_config = need_blob(reader, "master/config")};
  file.state.refill = read_refill(reader);
  if (const auto counts = reader.blob("master/learning")) file.learning.set_lasting(*counts);
  return file;
}

}  // namespace orrery::cli
