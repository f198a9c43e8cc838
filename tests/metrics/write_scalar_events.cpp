// write_scalar_events FOLDER: writes the event file that tools/check_tensorboard.py reads.
#include <cstdio>

#include "orrery/metrics/tensorboard.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_scalar_events FOLDER\n");
    return 2;
  }
  orrery::metrics::TensorBoardWriter writer(argv[1]);
  for (int step = 0; step < 5; ++step) {
    writer.write(step, {{"actor_train/loss", 1.0 / (step + 1)}, {"eval/accuracy", step * 0.125}});
  }
  return 0;
}
