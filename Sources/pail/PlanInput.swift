// From a command line to a plan: the part that reads the config files and the profile.

internal import Commands
internal import Credentials
internal import S3Protocol

/// What a command line says of one mount.
struct MountRequest {
    /// `s3://BUCKET[/PREFIX]`, or the name of a mount in a config file.
    var source: String
    /// Nil: the config file's.
    var mountpoint: String?
    /// Without a mountpoint, what is no URL can only be a name.
    var needsName = false
    /// Each the text after one `-o`.
    var lists: [String] = []
    /// Options given singly, which override the lists; nil values are flags.
    var given: [(MountOptionName, String?)] = []
}

/// What `mount`, `run` and `doctor` make their plans from.
enum PlanInput {
    /// Settles a plan, its mountpoint to be checked and filled in later. A wrong option is told before the machine is
    /// looked at.
    /// - Returns: the plan, and where the user or the config file wants the mount.
    static func plan(_ request: MountRequest) throws -> (plan: MountPlan, mountpoint: String?) {
        let environment = LaunchEnvironment.current()
        let files = try Configuration(environment)
        // `BUCKET MOUNTPOINT` means the bucket whatever a config file calls so.
        let isName =
            request.mountpoint == nil && !request.source.contains("://")
            && (files.hasMount(named: request.source) || (request.needsName && !request.source.contains("/")))
        var source = request.source
        var mountpoint = request.mountpoint
        if isName {
            let named = try files.mount(named: request.source)
            source = named.source
            mountpoint = named.mountpoint
        }
        var options = try files.options(forMount: isName ? request.source : nil, environment: environment)
        // The lists first: what is said singly overrides.
        for list in request.lists { try options.set(list: list) }
        for (name, value) in request.given { try options.set(name, value) }
        let plan = try MountPlan.resolve(options, source: source, mountpoint: "/", environment: environment)
        let settings: ServiceSettings
        do throws(CredentialError) {
            settings = try ServiceSettings(
                environment: ProcessEnvironment(variables: environment.variables, homeDirectory: environment.home),
                profile: plan.profile)
        } catch {
            // Without signatures the profile is not needed, unless it was named.
            if plan.isAnonymous, plan.profile == nil { return (try withKey(plan), mountpoint) }
            throw CommandFailure(lines: [MountFailure(error).line(cannotMount: plan.location)], status: .failed)
        }
        let complete = try MountPlan.resolve(
            options, source: source, mountpoint: "/", environment: environment, settings: settings)
        return (try withKey(complete), mountpoint)
    }

    /// With the customer's key, if it has one. A daemon that goes on after another needs no file for it then.
    private static func withKey(_ plan: MountPlan) throws -> MountPlan {
        guard let path = plan.customerKeyPath else { return plan }
        var result = plan
        do throws(MountFailure) {
            result.customerKey = try CustomerKeyFile.read(path)
        } catch {
            throw CommandFailure(lines: [error.line(cannotMount: plan.location)], status: .failed)
        }
        return result
    }
}
