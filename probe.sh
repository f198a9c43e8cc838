ccache -s -v | head; ccache -p | grep -E "cache_dir|compiler_check|sloppi"; g++ --version | head -1; ls -la --time-style=full-iso /usr/bin/x86_64-linux-gnu-g++-12
