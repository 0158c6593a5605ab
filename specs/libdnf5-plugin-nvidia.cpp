// What libdnf5 loads of the plugin: as little as can be. dnf5 ends when a plugin cannot be loaded or throws, so all that
// might go wrong (a libdnf5 that lacks a function that it had when this was built, too) is in nvidia/hold.so beside this
// file, is loaded when it is needed, and only a line is said of it when it fails: the gate's Conflicts hold kernels back
// without any plugin.

#include <dlfcn.h>

#include <cstring>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>

#include <libdnf5/plugin/iplugin.hpp>

namespace {

constexpr const char * NAME = "nvidia";
constexpr libdnf5::plugin::Version VERSION{1, 0, 0};
constexpr libdnf5::PluginAPIVersion API{.major = 2, .minor = 0};
static_assert(API.major == libdnf5::PLUGIN_API_VERSION.major, "dnf5 ends when it finds a plugin of another API");
constexpr const char * ATTRIBUTES[]{"description", nullptr};
constexpr const char * DESCRIPTION = "Holds kernels back that the NVIDIA driver has no module for yet";

std::exception_ptr last;

std::string said() {
    const char * text = dlerror();
    return text ? text : "unknown error";
}

// The work itself, for which the library beside this one is loaded with every symbol that it needs, or not at all.
void hold(libdnf5::Base & base) {
    Dl_info here;
    if (!dladdr(reinterpret_cast<void *>(&hold), &here) || !here.dli_fname) {
        throw std::runtime_error("its folder is not known");
    }
    const std::string path(here.dli_fname);
    const auto library = path.substr(0, path.rfind('/') + 1) + "nvidia/hold.so";
    void * handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        throw std::runtime_error(said());
    }
    auto * work = reinterpret_cast<void (*)(libdnf5::Base &)>(dlsym(handle, "nvidia_hold"));
    if (!work) {
        throw std::runtime_error(said());
    }
    work(base);
}

class Nvidia final : public libdnf5::plugin::IPlugin {
public:
    using IPlugin::IPlugin;

    libdnf5::PluginAPIVersion get_api_version() const noexcept override { return API; }

    const char * get_name() const noexcept override { return NAME; }

    libdnf5::plugin::Version get_version() const noexcept override { return VERSION; }

    const char * const * get_attributes() const noexcept override { return ATTRIBUTES; }

    const char * get_attribute(const char * name) const noexcept override {
        return std::strcmp(name, ATTRIBUTES[0]) == 0 ? DESCRIPTION : nullptr;
    }

    // Called once the packages of repositories and host are known and filtered.
    void repos_loaded() override {
        try {
            hold(get_base());
        } catch (const std::exception & ex) {
            std::cerr << "nvidia: kernels are not held back one by one: " << ex.what() << std::endl;
        } catch (...) {
            std::cerr << "nvidia: kernels are not held back one by one" << std::endl;
        }
    }
};

}  // namespace

libdnf5::PluginAPIVersion libdnf_plugin_get_api_version(void) {
    return API;
}

const char * libdnf_plugin_get_name(void) {
    return NAME;
}

libdnf5::plugin::Version libdnf_plugin_get_version(void) {
    return VERSION;
}

libdnf5::plugin::IPlugin * libdnf_plugin_new_instance(
    libdnf5::LibraryVersion, libdnf5::plugin::IPluginData & data, libdnf5::ConfigParser &) {
    try {
        return new Nvidia(data);
    } catch (...) {
        last = std::current_exception();
        return nullptr;
    }
}

void libdnf_plugin_delete_instance(libdnf5::plugin::IPlugin * plugin) {
    delete plugin;
}

std::exception_ptr * libdnf_plugin_get_last_exception(void) {
    return &last;
}
