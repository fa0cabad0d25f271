output "token_file" {
  description = "The join token of the pool. Terraform has no way to the control plane: terraform output -raw token_file | postern create -f -"
  value       = yamlencode(local.token)
}

output "role_arn" {
  description = "Role of the instances."
  value       = aws_iam_role.agent.arn
}
