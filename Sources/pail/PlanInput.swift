// From a command line to a plan: the part that reads the profile.

internal import Commands
internal import Credentials
internal import S3Protocol

/// What `mount` and `doctor` make their plan from.
enum PlanInput {
    /// Settles a plan for a mountpoint to be filled in later. A wrong option is told before the machine is looked at.
    static func plan(_ options: MountOptions, source: String) throws -> MountPlan {
        let environment = LaunchEnvironment.current()
        let plan = try MountPlan.resolve(options, source: source, mountpoint: "/", environment: environment)
        let settings: ServiceSettings
        do throws(CredentialError) {
            settings = try ServiceSettings(
                environment: ProcessEnvironment(variables: environment.variables, homeDirectory: environment.home),
                profile: plan.profile)
        } catch {
            // Without signatures the profile is not needed, unless it was named.
            if plan.isAnonymous, plan.profile == nil { return plan }
            throw CommandFailure(lines: [MountFailure(error).line(cannotMount: plan.location)], status: .failed)
        }
        return try MountPlan.resolve(
            options, source: source, mountpoint: "/", environment: environment, settings: settings)
    }
}
