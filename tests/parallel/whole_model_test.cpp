#include "orrery/parallel/whole_model.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "../base/temporary_folder.h"
#include "orrery/model/hf_directory.h"
#include "shards_for_test.h"
#include "support/thread_communicator.h"

namespace orrery::parallel {
namespace {

TEST(GatherModel, GivesTheFirstWorkerTheModelOfAnyLayout) {
  for (const char* kind : {"bias", "tied", "gpt2", "experts"}) {
    const model::Architecture a = four_layers(kind);
    model::Decoder expected(a, at::kDouble);
    disturb(expected.parameters());
    for (const graph::Degrees& degrees : layouts(a)) {
      SCOPED_TRACE(testing::Message()
                   << kind << " d" << degrees.data << "t" << degrees.tensor << "p" << degrees.pipe);
      comm::run_as_threads(
          degrees.data * degrees.tensor * degrees.pipe, [&](comm::Communicator& all) {
            TestShard shard(a, degrees, all);
            if (shard.at.data > 0) return;

            const auto whole = gather_model(*shard.decoder, shard.groups);

            ASSERT_EQ(whole != nullptr, all.rank() == 0);
            if (whole == nullptr) return;
            EXPECT_TRUE(at::equal(whole->parameters().values(), expected.parameters().values()));
          });
    }
  }
}

TEST(LoadHf, GivesEachShardItsPartOfTheFiles) {
  for (const char* kind : {"bias", "tied", "gpt2", "experts"}) {
    const model::Architecture a = four_layers(kind);
    model::Decoder whole(a, at::kDouble);
    disturb(whole.parameters());
    const TemporaryFolder folder;
    model::save_hf(folder.path() / "model", whole);
    for (const graph::Degrees& degrees : layouts(a)) {
      if (degrees.data > 1) continue;
      comm::run_as_threads(degrees.tensor * degrees.pipe, [&](comm::Communicator& all) {
        TestShard shard(a, degrees, all);
        shard.decoder->parameters().values().zero_();

        model::load_hf_parameters(folder.path() / "model", *shard.decoder);

        for (const model::ParameterSpec& spec : shard.decoder->parameters().table().parameters) {
          EXPECT_TRUE(at::equal(shard.decoder->parameters().leaf(spec.name),
                                part_of(whole.parameters().leaf(spec.name), spec)))
              << spec.name;
        }
      });
    }
  }
}

}  // namespace
}  // namespace orrery::parallel
