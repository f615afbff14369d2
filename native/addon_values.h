// Between JavaScript values and ours: the arguments of a call, its results and its errors.
// Any call of Node-API fails while a worker is being terminated, so every result begins as null: a
// null value is taken for undefined by Node, and refused by the next call it is handed to.
#pragma once
#include <node_api.h>

#include <vector>

#include "connection.h"

namespace mergelite {

inline napi_value Undefined(napi_env env) {
  napi_value value = nullptr;
  napi_get_undefined(env, &value);
  return value;
}
inline napi_value Number(napi_env env, double number) {
  napi_value value = nullptr;
  napi_create_double(env, number, &value);
  return value;
}
inline napi_value Number(napi_env env, uint64_t number) {
  return Number(env, static_cast<double>(number));
}
inline napi_value BigInt(napi_env env, uint64_t number) {
  napi_value value = nullptr;
  napi_create_bigint_uint64(env, number, &value);
  return value;
}
inline napi_value Boolean(napi_env env, bool flag) {
  napi_value value = nullptr;
  napi_get_boolean(env, flag, &value);
  return value;
}
inline napi_value String(napi_env env, Span text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, reinterpret_cast<const char*>(text.data), text.size, &value);
  return value;
}
inline napi_value String(napi_env env, const char* text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value);
  return value;
}
inline napi_value Array(napi_env env) {
  napi_value value = nullptr;
  napi_create_array(env, &value);
  return value;
}
inline void Push(napi_env env, napi_value array, napi_value value) {
  uint32_t length = 0;
  napi_get_array_length(env, array, &length);
  napi_set_element(env, array, length, value);
}
template <class Element>
constexpr napi_typedarray_type kArrayOf = napi_uint8_array;
template <>
constexpr napi_typedarray_type kArrayOf<uint32_t> = napi_uint32_array;
template <>
constexpr napi_typedarray_type kArrayOf<uint64_t> = napi_biguint64_array;
template <>
constexpr napi_typedarray_type kArrayOf<double> = napi_float64_array;

// A typed array of JavaScript's own, with a copy of them.
template <class Element>
napi_value TypedArray(napi_env env, const Element* elements, size_t count) {
  void* data = nullptr;
  napi_value buffer = nullptr, array = nullptr;
  const size_t size = count * sizeof(Element);
  if (napi_create_arraybuffer(env, size, &data, &buffer) != napi_ok) return nullptr;
  if (size > 0) memcpy(data, elements, size);
  napi_create_typedarray(env, kArrayOf<Element>, count, buffer, 0, &array);
  return array;
}
inline napi_value Buffer(napi_env env, Span bytes) {
  return TypedArray(env, bytes.data, bytes.size);
}
inline napi_value Numbers(napi_env env, const std::vector<double>& numbers) {
  return TypedArray(env, numbers.data(), numbers.size());
}
// Memory that belongs to JavaScript.
template <class Element>
struct Elements {
  Element* data = nullptr;
  size_t count = 0;
};
// 0 for what is no whole number of ours.
inline uint64_t Whole(double number) {
  return number > 0 && number < 9007199254740992.0 ? static_cast<uint64_t>(number) : 0;
}
// The whole numbers of an array of doubles.
template <class Visit>
void ForEachNumber(Span numbers, Visit visit) {
  double number;
  for (size_t at = 0; at + sizeof number <= numbers.size; at += sizeof number) {
    memcpy(&number, numbers.data + at, sizeof number);
    visit(Whole(number));
  }
}
// The same by flat pairs.
template <class Visit>
void ForEachPair(Span numbers, Visit visit) {
  uint64_t first = 0;
  bool is_second = false;
  ForEachNumber(numbers, [&](uint64_t number) {
    if (is_second) visit(first, number);
    first = number;
    is_second = !is_second;
  });
}
inline Text Hex(uint64_t number) {
  Text text;
  for (int shift = 60; shift >= 0; shift -= 4) {
    const char digit[2] = {"0123456789abcdef"[number >> shift & 15], 0};
    text << digit;
  }
  return text;
}

struct Function {
  const char* name;
  napi_callback callback;
};
template <size_t kCount>
void Export(napi_env env, napi_value exports, const Function (&functions)[kCount]) {
  for (const Function& entry : functions) {
    napi_value function = nullptr;
    napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.callback, nullptr, &function);
    napi_set_named_property(env, exports, entry.name, function);
  }
}

class Object {
 public:
  explicit Object(napi_env env) : env_(env) { napi_create_object(env, &value_); }
  Object& Set(const char* name, napi_value value) {
    napi_set_named_property(env_, value_, name, value);
    return *this;
  }
  Object& Set(const char* name, uint64_t number) { return Set(name, Number(env_, number)); }
  Object& Flag(const char* name, bool flag) { return Set(name, Boolean(env_, flag)); }
  operator napi_value() const { return value_; }

 private:
  napi_env env_;
  napi_value value_ = nullptr;
};

inline void Throw(napi_env env, const char* code, const char* message, const char* hint) {
  napi_value error = nullptr;
  napi_create_error(env, String(env, code), String(env, message), &error);
  napi_set_named_property(env, error, "hint", String(env, hint));
  napi_throw(env, error);
}

// The arguments of one call. The first is a handle, except where there is none.
class Call {
 public:
  Call(napi_env env, napi_callback_info info) : env(env) {
    size_t count = kMax;
    napi_get_cb_info(env, info, &count, argv_, nullptr, nullptr);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() {
    if (found_ != nullptr) found_->calls--;
  }

  // Null, with an exception pending, when the connection is closed.
  Connection* Find() {
    Connection* connection = FindConnection(static_cast<int>(Integer(0)));
    if (connection == nullptr || connection->finalized) {
      Throw(env, "CLOSED", "the database connection is closed", "Open it again and attach anew.");
      return nullptr;
    }
    connection->error.Clear();
    Enter(connection);
    return connection;
  }
  // The connection knows that it is called, until this ends.
  void Enter(Connection* connection) {
    if (found_ == nullptr) connection->calls++;
    found_ = connection;
  }
  double Real(size_t index) {
    double value = 0;
    napi_get_value_double(env, argv_[index], &value);
    return value;
  }
  uint64_t Integer(size_t index) { return Whole(Real(index)); }
  Text String(size_t index) { return StringOf(argv_[index]); }
  Text StringOf(napi_value value) {
    size_t size = 0;
    Text text;
    if (napi_get_value_string_utf8(env, value, nullptr, 0, &size) != napi_ok) return text;
    Bytes bytes;
    auto* data = reinterpret_cast<char*>(bytes.Reserve(size + 1));
    napi_get_value_string_utf8(env, value, data, size + 1, &size);
    text.Add({bytes.data(), size});
    return text;
  }
  // Of an array; false when a worker that is being terminated cannot read all of it.
  bool Strings(size_t index, std::vector<Text>* texts) {
    uint32_t count = 0;
    napi_get_array_length(env, argv_[index], &count);
    for (uint32_t i = 0; i < count; i++) {
      napi_value element = nullptr;
      if (napi_get_element(env, argv_[index], i, &element) != napi_ok) return false;
      texts->push_back(StringOf(element));
    }
    return true;
  }
  Span View(size_t index) { return ViewOf(argv_[index]); }
  Span ViewOf(napi_value value) {
    void* data = nullptr;
    size_t length = 0;
    napi_typedarray_type type = napi_uint8_array;
    if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) {
      return {};
    }
    if (type == napi_biguint64_array || type == napi_float64_array) length *= 8;
    return {static_cast<const uint8_t*>(data), length};
  }
  // Of a typed array of just that kind; none for anything else.
  template <class Element>
  Elements<Element> Typed(size_t index) {
    void* data = nullptr;
    size_t count = 0;
    napi_typedarray_type type = napi_int8_array;
    const bool is_it = napi_get_typedarray_info(env, argv_[index], &type, &count, &data, nullptr,
                                                nullptr) == napi_ok &&
                       type == kArrayOf<Element>;
    if (!is_it) return {};
    return {static_cast<Element*>(data), count};
  }
  napi_value at(size_t index) const { return argv_[index]; }

  // Throws the connection's error unless all went well.
  bool Failed(Connection* connection, int rc) {
    if (rc == SQLITE_OK) return false;
    const Error& error = connection->error;
    Throw(env, error.code[0] != 0 ? error.code : "SQLITE",
          error.message.empty() ? "the operation failed" : error.message.c_str(),
          error.hint.c_str());
    return true;
  }

  napi_env env;

 private:
  static constexpr size_t kMax = 8;
  napi_value argv_[kMax] = {};
  Connection* found_ = nullptr;
};

}  // namespace mergelite
