// The peers this file has linked with: what they held when they were heard last.
#pragma once
#include <vector>

#include "sqlite_api.h"

namespace mergelite {

struct Connection;

struct KnownPeer {
  struct Entry {
    uint64_t origin, sequence;
  };
  uint64_t peer = 0;
  std::vector<Entry> vector;
  int64_t heard_ms = 0;
  bool forgotten = false;
};

// A peer that was forgotten stays so: it returns under another id.
int NotePeer(Connection* connection, const KnownPeer& peer, bool* busy);
int ForgetPeer(Connection* connection, uint64_t peer, bool* busy);
int ReadPeers(Connection* connection, std::vector<KnownPeer>* peers);

}  // namespace mergelite
