// Hold kernels back that the NVIDIA driver has no module for yet, so that everything else is upgraded.
//
// The rule is not here: the newest nvidia-kmod-common says in its Conflicts which kernels it has no module for, and dnf5
// keeps those out anyway, but with best=1 by refusing the whole upgrade. This takes them out of sight and says so, as
// dnf-plugin-nvidia does for dnf 4. dnf5 --disable-plugin=nvidia shows them again. A kernel that was let in nevertheless
// (rpm --nodeps) is named each time.

#include <iostream>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <libdnf5/base/base.hpp>
#include <libdnf5/rpm/nevra.hpp>
#include <libdnf5/rpm/package_query.hpp>
#include <libdnf5/rpm/package_sack.hpp>

using libdnf5::rpm::Package;
using libdnf5::rpm::PackageQuery;
using libdnf5::rpm::PackageSet;

namespace {

constexpr const char * GATE = "nvidia-kmod-common";
constexpr std::string_view CORE = "-core";  // the package of a kernel that has its image: kernel-core, kernel-rt-core

// stderr, as programs read what repoquery writes to stdout; libdnf5's own way of telling is of 5.4.4.
void warn(libdnf5::Base & base, const std::string & text) {
    std::cerr << "nvidia: " << text << std::endl;
    base.get_logger()->log_line(libdnf5::Logger::Level::WARNING, "nvidia: " + text);
}

std::string family_of(const std::string & name) {
    return name.ends_with(CORE) ? name.substr(0, name.size() - CORE.size()) : name;
}

// The packages that are made with a kernel, in repositories; not those of another variant.
PackageSet made_with(libdnf5::Base & base, const Package & core, const std::set<std::string> & families) {
    const auto family = family_of(core.get_name());
    PackageQuery query(base);
    query.filter_available();
    query.filter_epoch(core.get_epoch());
    query.filter_version(core.get_version());
    query.filter_release(core.get_release());
    query.filter_name(std::vector<std::string>{family, family + "-*"}, libdnf5::sack::QueryCmp::GLOB);
    PackageSet held(base);
    for (const auto & package : query) {
        const auto name = package.get_name();
        bool foreign = false;
        for (const auto & other : families) {
            if (other != family && (name == other || (other.size() > family.size() && name.starts_with(other + "-")))) {
                foreign = true;
            }
        }
        if (!foreign) {
            held.add(package);
        }
    }
    return held;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void nvidia_hold(libdnf5::Base & base) {
    PackageQuery gates(base);
    gates.filter_name(GATE);
    PackageQuery here(gates);
    here.filter_installed();
    if (here.empty()) {
        return;  // a gate of the DKMS streams conflicts with no kernel
    }
    gates.filter_latest_evr();
    const auto gate = *gates.begin();
    const auto conflicts = gate.get_conflicts();
    if (conflicts.empty()) {
        return;
    }
    std::set<std::string> families;
    for (const auto & conflict : conflicts) {
        const auto text = conflict.to_string();
        const auto start = text.find_first_not_of("( ");
        const auto name = text.substr(start, text.find(' ', start) - start);
        if (name.ends_with(CORE)) {
            families.insert(family_of(name));
        }
    }
    const auto driver = gate.get_version();

    PackageQuery installed(base);
    installed.filter_installed();
    PackageQuery let_in(installed);
    let_in.filter_provides(conflicts);
    for (const auto & core : let_in) {
        warn(base, core.get_nevra() + " is installed, but driver " + driver + " has no module for it yet");
    }

    installed.filter_latest_evr();
    std::map<std::string, Package> newest;
    for (const auto & package : installed) {
        newest.emplace(package.get_name(), package);
    }
    PackageQuery kept_out(base);
    kept_out.filter_available();
    kept_out.filter_provides(conflicts);
    PackageSet held(base);
    for (const auto & core : kept_out) {
        held |= made_with(base, core, families);
        const auto found = newest.find(core.get_name());
        if (found != newest.end() && libdnf5::rpm::evrcmp(core, found->second) > 0) {  // what an upgrade would bring
            warn(
                base,
                core.get_nevra() + " is held back: driver " + driver + " has no module for it yet (" + gate.get_nevra() +
                    ")");
        }
    }
    base.get_rpm_package_sack()->add_user_excludes(held);
}
